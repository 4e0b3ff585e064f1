//! An agent's disk: the records that were synced, and what may become of them.

use bytes::Bytes;
use redpoll_common::job::spool::{Image, Record};
use redpoll_common::job::{Dno, Item};

use super::agent::Agent;
use super::dice::Dice;

impl Agent {
    /// What its records say together, if they can be read.
    pub(super) fn image(&self, records: &[Bytes]) -> Option<Image> {
        let mut image = Image::default();
        records.iter().try_for_each(|bytes| image.add(Record::read(bytes.clone()).ok()?).ok())?;
        Some(image)
    }

    /// The disk is lost; the spool that is made anew is another one.
    pub(super) fn wipe(&mut self, dice: &mut Dice) {
        self.disk.clear();
        self.held.clear();
        self.lost_spool = true;
        self.spool_id = dice.bytes();
        self.offered.clear();
    }

    /// Takes the disk back to an older state of itself, if the highest number on it is then below `seen`. Gives whether.
    pub(super) fn roll_back(&mut self, dice: &mut Dice, seen: Dno) -> bool {
        let keep = dice.index(self.disk.len().max(1));
        let older = self.image(&self.disk[..keep]).is_some_and(|image| image.max_dno() < seen);
        if older {
            self.lost_spool = true;
            self.disk.truncate(keep);
            self.held.clear();
            self.offered.clear();
        }
        older
    }

    /// Items read back, from one on, at least one and about so many bytes.
    pub(super) fn items_from(&self, dno: Dno, from: u64, bytes: u64) -> Vec<Item> {
        let of_run = self.disk.iter().filter_map(|bytes| match Record::read(bytes.clone()) {
            Ok(Record::Items { dno: of, items }) if of == dno => Some(items),
            Ok(_) | Err(_) => None,
        });
        let mut items: Vec<Item> = of_run.flatten().filter(|item| item.n >= from).collect();
        items.sort_by_key(|item| item.n);
        items.dedup_by_key(|item| item.n);
        let mut left = bytes;
        items.retain(|item| {
            let fits = item.n == from || left > 0;
            left = left.saturating_sub(32 + item.data.len() as u64);
            fits
        });
        items
    }
}
