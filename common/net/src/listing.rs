//! What a registry offers and what of it is disabled, as a list that travels in pages and is known by its digest.

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_common::wire::codec::MAX_TEXT_LEN;
use redpoll_common::wire::fields::Fields;
use redpoll_common::wire::{DecodeError, MAX_NODES, Raw, RawMap, scan};
use tracing::error;

use crate::registry::{ProcedureInfo, Registry};

/// What a page has around its elements: bytes and values, generously.
const AROUND: (usize, usize) = (256, 32);

/// The SHA-256 over the encoded elements, one after the other.
pub type ListingDigest = [u8; 32];

/// The digest of encoded elements.
pub fn digest_of(elements: &[Raw]) -> ListingDigest {
    let mut context = Context::new(&SHA256);
    for element in elements {
        context.update(element.as_bytes());
    }
    let mut digest = ListingDigest::default();
    digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

/// A list of procedures: each as a [`ProcedureInfo`], those that are not offered with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    digest: ListingDigest,
    elements: Vec<Raw>,
}

impl Listing {
    /// Lists what a registry has, in the order of names and versions. A description that has no form on the wire is left out, and logged.
    pub fn of(registry: &Registry) -> Self {
        let mut all: Vec<&ProcedureInfo> = registry.procedures().chain(registry.absent()).collect();
        all.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        // one that was taken out and put back is offered
        all.dedup_by(|later, first| {
            let same = (&later.name, later.version) == (&first.name, first.version);
            if same && later.disabled.is_none() {
                *first = *later;
            }
            same
        });
        let elements = elements_of(all);
        Self { digest: digest_of(&elements), elements }
    }

    /// Its digest.
    pub fn digest(&self) -> &ListingDigest {
        &self.digest
    }

    /// The elements after so many, as many as fit into so many bytes: `{digest, procedures, next}`. An element that fits into no page
    /// is left out, and with it the digest that the elements would have.
    pub fn page(&self, after: usize, bytes: usize) -> Raw {
        let (around_bytes, around_nodes) = AROUND;
        let (mut bytes, mut nodes) = (bytes.saturating_sub(around_bytes), MAX_NODES - around_nodes);
        let whole = (bytes, nodes);
        let (mut page, mut next) = (Vec::new(), None);
        for (place, element) in self.elements.iter().enumerate().skip(after) {
            let cost = scan::measure(element.as_bytes()).map_or(usize::MAX, |cost| cost.nodes);
            if element.len() > whole.0 || cost > whole.1 {
                continue;
            }
            if element.len() > bytes || cost > nodes {
                next = u64::try_from(place).ok();
                break;
            }
            bytes -= element.len();
            nodes -= cost;
            page.push(element.clone());
        }
        let map = RawMap::new().bin("digest", &self.digest).raws("procedures", &page);
        map.opt_uint("next", next).finish()
    }
}

/// Descriptions as elements of a list, each encoded by itself: one that has no form on the wire leaves the others in it.
pub fn elements_of<'p>(procedures: impl IntoIterator<Item = &'p ProcedureInfo>) -> Vec<Raw> {
    let encoded = |info: &ProcedureInfo| {
        Raw::encode(info)
            .inspect_err(|error| {
                let ProcedureInfo { name, version, .. } = info;
                error!(%error, name, version, "the description of a procedure cannot be sent; no list has it");
            })
            .ok()
    };
    procedures.into_iter().filter_map(encoded).collect()
}

/// A page of a listing, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingPage {
    /// The digest of the whole list.
    pub digest: ListingDigest,
    /// Elements of it, each in memory of its own: a list is kept, its pages are not.
    pub elements: Vec<Raw>,
    /// After how many elements the next page begins; `None` when this is the last.
    pub next: Option<u64>,
}

impl ListingPage {
    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing or something else.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        let elements = fields.array("procedures")?;
        Ok(Self {
            digest: read_digest(&fields.raw("digest")?).ok_or(WRONG_DIGEST)?,
            elements: elements.elements().into_iter().flatten().map(|element| element.detached()).collect(),
            next: fields.opt_u64("next")?,
        })
    }
}

const WRONG_DIGEST: DecodeError = DecodeError::WrongType { field: "digest", wanted: "32 bytes" };

/// What an agent says holds from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The digest of its list.
    pub digest: ListingDigest,
    /// The digest of its policy; `None`: it does not say, and what it said before holds.
    pub policy: Option<String>,
}

impl Announcement {
    /// Reads `{digest, policy}`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        let policy = fields.opt_text("policy", MAX_TEXT_LEN)?.map(str::to_owned);
        Ok(Self { digest: read_digest(&fields.raw("digest")?).ok_or(WRONG_DIGEST)?, policy })
    }

    /// Writes it.
    pub fn write(&self) -> Raw {
        RawMap::new().bin("digest", &self.digest).opt_text("policy", self.policy.as_deref()).finish()
    }
}

fn read_digest(value: &Raw) -> Option<ListingDigest> {
    // a byte string of 32 bytes: two bytes of head
    value.as_bytes().strip_prefix(&[0xc4, 32])?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::CallContext;

    async fn nothing(_call: CallContext) -> Result<Raw, redpoll_common::wire::Fault> {
        Ok(Raw::nil())
    }

    fn registry(count: u32) -> Registry {
        (1..=count).fold(Registry::new(), |registry, version| {
            let info = ProcedureInfo {
                version,
                ..ProcedureInfo::new("p", "Does.", serde_json::json!({"type": "object"}))
            };
            registry.with(info, nothing).unwrap()
        })
    }

    #[test]
    fn what_is_kept_of_a_page_does_not_keep_the_page() {
        let element = RawMap::new().text("name", "p").finish();
        let map =
            RawMap::new().bin("digest", &[7; 32]).raws("procedures", &[element.clone(), element.clone()]);
        let page = map.bin("junk", &[0; 100_000]).finish().to_bytes();
        let read = ListingPage::read(&Raw::parse(page.clone()).unwrap()).unwrap();
        assert_eq!(read.elements, [element.clone(), element]);
        assert!(page.is_unique(), "the elements have memory of their own");
    }

    #[test]
    fn the_pages_of_a_list_have_its_digest_together() {
        let listing = Listing::of(&registry(50));
        let (mut after, mut elements, mut pages) = (0, Vec::new(), 0);
        loop {
            let page = ListingPage::read(&listing.page(after, 1024)).unwrap();
            assert_eq!(page.digest, *listing.digest());
            elements.extend(page.elements);
            pages += 1;
            match page.next {
                Some(next) => after = usize::try_from(next).unwrap(),
                None => break,
            }
        }
        assert!(pages > 1 && elements.len() == 50, "{pages} {}", elements.len());
        assert_eq!(digest_of(&elements), *listing.digest());
    }

    #[test]
    fn a_description_that_has_no_form_leaves_the_others_in_the_list() {
        let deep = (0..40).fold(serde_json::json!({}), |inner, _| serde_json::json!({"not": inner}));
        let registry = registry(2).with(ProcedureInfo::new("deep", "Does.", deep), nothing).unwrap();
        let page = ListingPage::read(&Listing::of(&registry).page(0, 4096)).unwrap();
        assert_eq!(page.elements.len(), 2);
    }

    #[test]
    fn what_was_taken_out_is_listed_with_the_reason_and_changes_the_digest() {
        let (all, less) = (registry(2), registry(2).without("p", 2, "is off"));
        let (whole, listing) = (Listing::of(&all), Listing::of(&less));
        assert_ne!(whole.digest(), listing.digest());
        let page = ListingPage::read(&listing.page(0, 4096)).unwrap();
        let infos: Vec<ProcedureInfo> = page.elements.iter().map(|raw| raw.decode().unwrap()).collect();
        assert_eq!((infos[0].disabled.as_deref(), infos[1].disabled.as_deref()), (None, Some("is off")));
        assert_eq!(infos[1].args, serde_json::json!({"type": "object"}));
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written_and_nothing_else_is() {
        let digest = *Listing::of(&registry(1)).digest();
        for policy in [None, Some("ab12".to_owned())] {
            let announcement = Announcement { digest, policy };
            assert_eq!(Announcement::read(&announcement.write()).as_ref(), Ok(&announcement));
        }
        let odd = RawMap::new().bin("digest", &digest).uint("policy", 1).finish();
        for wrong in [Raw::nil(), Raw::empty_map(), RawMap::new().bin("digest", &[1; 31]).finish(), odd] {
            assert!(Announcement::read(&wrong).is_err());
        }
    }
}
