//! Tells of the ends of jobs until somebody has heard, and records that once.

use redpoll_common::job::JobId;

use super::Jobs;
use super::deliveries::Receiver;
use super::effect::Effect;
use super::input::NotTaken;
use super::model::Timer;
use super::record::{CallbackRecord, CallbackState, Change, EventKind};
use super::settings::{backoff, lot};

/// Why an end is not told.
const DELETED: &str = "the job was deleted";

impl<T> Jobs<T> {
    pub(super) fn add_callback(&mut self, record: CallbackRecord) {
        self.changes.push(Change::CallbackChanged(record.clone()));
        self.restore_callback(record);
    }

    pub(super) fn restore_callback(&mut self, record: CallbackRecord) {
        let (job, serial) = (record.job, record.serial);
        self.timers.insert((record.due_ms, Timer::Callback(job, serial)));
        self.callbacks.insert((job, serial), record);
    }

    /// A callback is due: it goes out as soon as fewer than the limit are under way, to its receiver and in all.
    pub(super) fn callback_due(&mut self, job: JobId, serial: u32) {
        if let Some(record) = self.callbacks.get(&(job, serial)) {
            let receiver = Receiver::of(&record.target);
            self.deliveries.add((job, serial), receiver, self.settings.callbacks_at_once);
        }
    }

    pub(super) fn deliver_callbacks(&mut self) {
        let at_once = self.settings.callbacks_at_once;
        while let Some((job, serial)) = self.deliveries.next(at_once) {
            match self.callbacks.get(&(job, serial)) {
                Some(record) => {
                    let target = record.target.clone();
                    self.effects.push(Effect::Deliver { job, serial, target });
                }
                // deleted, or taken, while it waited
                None => _ = self.deliveries.ended((job, serial), at_once),
            }
        }
    }

    pub(super) fn callback_tried(&mut self, job: JobId, serial: u32, error: Option<NotTaken>, now_ms: u64) {
        let was_under_way = self.deliveries.ended((job, serial), self.settings.callbacks_at_once);
        // that it was taken is true also of a try which a machine before this one began
        let counts = was_under_way || error.is_none();
        let Some(record) = self.callbacks.get_mut(&(job, serial)).filter(|_| counts) else { return };
        record.tries = record.tries.saturating_add(1);
        record.error = error.as_ref().map(NotTaken::to_string);
        let (tries, settings) = (record.tries, self.settings);
        if error.is_none() || tries >= settings.callback_tries {
            let delivered = error.is_none();
            record.state = if delivered { CallbackState::Delivered } else { CallbackState::Abandoned };
            let kind = if delivered { EventKind::CallbackDelivered } else { EventKind::CallbackAbandoned };
            self.timers.remove(&(record.due_ms, Timer::Callback(job, serial)));
            self.changes.push(Change::CallbackChanged(record.clone()));
            self.callbacks.remove(&(job, serial));
            self.event(now_ms, kind, |event| {
                event.job = Some(job);
                event.detail = error.map(|error| error.why);
            });
            return;
        }
        let random = lot(job.to_bytes(), u64::from(tries) << 32 | u64::from(serial));
        let wait = backoff(settings.callback_first_ms, settings.callback_max_ms, tries, random);
        record.due_ms = now_ms.saturating_add(wait);
        self.timers.insert((record.due_ms, Timer::Callback(job, serial)));
        self.changes.push(Change::CallbackChanged(record.clone()));
    }

    /// Whether the end of the job has not been told yet.
    pub(super) fn has_callback(&self, job: JobId) -> bool {
        self.callbacks.range((job, 0)..=(job, u32::MAX)).next().is_some()
    }

    /// The job is deleted, and with it whatever was to be told of it, which is said. What is under way keeps its place until it comes back.
    pub(super) fn drop_callbacks(&mut self, job: JobId, now_ms: u64) {
        while let Some((id, _)) = self.callbacks.range((job, 0)..=(job, u32::MAX)).next() {
            let id = *id;
            let Some(mut record) = self.callbacks.remove(&id) else { return };
            self.timers.remove(&(record.due_ms, Timer::Callback(id.0, id.1)));
            record.state = CallbackState::Abandoned;
            record.error = Some(DELETED.to_owned());
            self.changes.push(Change::CallbackChanged(record));
            self.event(now_ms, EventKind::CallbackAbandoned, |event| {
                event.job = Some(job);
                event.detail = Some(DELETED.to_owned());
            });
        }
    }
}
