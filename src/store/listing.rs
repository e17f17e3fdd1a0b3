//! Listings to their end, which a broken or hostile store may never reach: what it
//! names is handed on page by page and not kept, and there is a bound to everything.
//!
//! The bounds are far beyond what anybody's backups need. Who meets one after all
//! names a longer prefix.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::error::{StoreError, StoreErrorKind};
use super::object::Object;
use crate::clock::Timestamp;

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What is on it.
    pub objects: Vec<Object>,
    /// Where to go on, in the store's own words; none at the end.
    pub next: Option<String>,
}

/// One version of an object, or a marker that hides those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The object's name below the destination's prefix.
    pub name: String,
    /// Which version. None where the object was written while the bucket kept no versions.
    pub id: Option<String>,
    /// Whether it is what a reader gets, or, of a marker, why a reader gets nothing.
    pub is_current: bool,
    /// Whether it is a marker that the object was removed.
    pub is_marker: bool,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
}

/// A part of a listing of versions. The versions of one object follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// What is on it.
    pub versions: Vec<Version>,
    /// Where to go on, in the store's own words; none at the end.
    pub next: Option<String>,
}

/// How much a store may list.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Pages, of which some may be empty.
    pages: usize,
    /// Objects.
    objects: u64,
    /// All pages together.
    time: Duration,
    /// A name, in bytes: what the providers allow.
    name: usize,
    /// Where the next page begins, in bytes.
    token: usize,
}

const BOUNDS: Bounds = Bounds {
    pages: 20_000,
    objects: 10_000_000,
    time: Duration::from_secs(3_600),
    name: 1_024,
    token: 16 << 10,
};
/// Of many hosts: each has ten thousand tails a day.
const OF_MANY_HOSTS: Bounds = Bounds {
    pages: 500_000,
    objects: 250_000_000,
    time: Duration::from_secs(12 * 3_600),
    ..BOUNDS
};
/// How many objects a list in memory may have.
pub(super) const MOST_KEPT: usize = 200_000;

/// Fetches the page that begins there.
type Fetch<'a> = &'a dyn Fn(Option<&str>) -> Result<Page, StoreError>;
/// Is shown each object.
type See<'a> = &'a mut dyn FnMut(Object) -> Result<(), StoreError>;

/// Goes through a listing.
pub(super) fn visit(url: &str, fetch: Fetch<'_>, see: See<'_>) -> Result<(), StoreError> {
    within(url, fetch, see, BOUNDS)
}

/// The same of a bucket in which many hosts are.
pub(super) fn visit_of_many(url: &str, fetch: Fetch<'_>, see: See<'_>) -> Result<(), StoreError> {
    within(url, fetch, see, OF_MANY_HOSTS)
}

/// The same through all versions.
pub(super) fn visit_versions(
    url: &str,
    fetch: &dyn Fn(Option<&str>) -> Result<VersionsPage, StoreError>,
    see: &mut dyn FnMut(Version) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // A page of versions as one of objects, so that there is one bound to both.
    let pending = RefCell::new(Vec::new());
    let page = |after: Option<&str>| {
        let VersionsPage { versions, next } = fetch(after)?;
        let named = |it: &Version| Object { name: it.name.clone(), ..Object::default() };
        let objects = versions.iter().map(named).collect();
        pending.replace(versions.into_iter().rev().collect());
        Ok(Page { objects, next })
    };
    let mut next = |_| pending.borrow_mut().pop().map_or(Ok(()), &mut *see);
    within(url, &page, &mut next, OF_MANY_HOSTS)
}

fn within(url: &str, fetch: Fetch<'_>, see: See<'_>, bounds: Bounds) -> Result<(), StoreError> {
    let begun = Instant::now();
    let mut tokens = Tokens::default();
    let mut after: Option<String> = None;
    let mut objects = 0_u64;
    let refuse = |message: String| StoreError::new(StoreErrorKind::Other, url, message);
    let too_much = |what: String| {
        refuse(format!("the listing has {what}")).hint(
            "name a longer prefix (--destination BUCKET/PREFIX), or find out what fills the \
                   bucket",
        )
    };
    loop {
        let page = fetch(after.as_deref())?;
        for object in page.objects {
            objects += 1;
            if object.name.len() > bounds.name {
                let (found, most) = (object.name.len(), bounds.name);
                return Err(refuse(format!(
                    "the store lists a name of {found} bytes, and none may have more than {most}"
                ))
                .hint("the store is broken, or not the store that it claims to be"));
            }
            if objects > bounds.objects {
                return Err(too_much(format!("more than {} objects", bounds.objects)));
            }
            see(object)?;
        }
        let Some(next) = page.next else { return Ok(()) };
        tokens.take(&next, bounds).map_err(&refuse)?;
        if tokens.0.len() >= bounds.pages {
            return Err(too_much(format!("more than {} pages", bounds.pages)));
        }
        if begun.elapsed() > bounds.time {
            return Err(too_much(format!("not ended after {} s", bounds.time.as_secs())));
        }
        after = Some(next);
    }
}

/// The places at which pages began.
#[derive(Debug, Default)]
struct Tokens(HashSet<u64>, RandomState);

impl Tokens {
    /// Takes the next one, if it is new: who goes back goes round for ever.
    fn take(&mut self, next: &str, bounds: Bounds) -> Result<(), String> {
        if next.len() > bounds.token {
            let most = bounds.token;
            return Err(format!("the store's continuation token has more than {most} bytes"));
        }
        if self.0.insert(self.1.hash_one(next)) {
            return Ok(());
        }
        Err("the store repeats a page: its list would never end".to_owned())
    }
}

/// For listings of other things than objects: [`Tokens`] with the same bounds.
#[derive(Debug, Default)]
#[cfg(feature = "s3")]
pub(super) struct Round(Tokens);

#[cfg(feature = "s3")]
impl Round {
    /// Whether there may be a page after this one, which begins there.
    pub(super) fn next(&mut self, url: &str, place: &str) -> Result<(), StoreError> {
        let refuse = |why: String| StoreError::new(StoreErrorKind::Other, url, why);
        self.0.take(place, BOUNDS).map_err(refuse)?;
        if self.0.0.len() < BOUNDS.pages {
            return Ok(());
        }
        Err(refuse(format!("the listing has more than {} pages", BOUNDS.pages)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Object {
        Object { name: name.to_owned(), ..Object::default() }
    }

    fn small() -> Bounds {
        Bounds { pages: 10, objects: 25, time: Duration::from_secs(3_600), name: 20, token: 20 }
    }

    fn seen(page: fn(usize) -> Page, bounds: Bounds) -> Result<usize, StoreError> {
        let mut count = 0;
        let mut see = |_| {
            count += 1;
            Ok(())
        };
        let fetch = |after: Option<&str>| {
            let number = after.map_or(0, |after| after.trim_start_matches('t').parse().expect("n"));
            Ok(page(number))
        };
        within("s3://b/", &fetch, &mut see, bounds).map(|()| count)
    }

    fn numbered(number: usize, objects: usize, next: Option<usize>) -> Page {
        let objects = (0..objects).map(|n| named(&format!("{number}-{n}"))).collect();
        Page { objects, next: next.map(|next| format!("t{next}")) }
    }

    #[test]
    fn a_listing_of_many_pages_some_of_them_empty_is_gone_through_to_its_end() {
        let pages = |number| numbered(number, number % 3, (number < 8).then_some(number + 1));
        assert_eq!(seen(pages, small()).expect("all"), 9);
    }

    #[test]
    fn what_never_ends_is_ended_and_the_bound_said() {
        type Pages = fn(usize) -> Page;
        let cases: [(Pages, &str); 6] = [
            (|_| numbered(0, 1, Some(0)), "repeats a page"),
            (|number| numbered(number, 1, Some((number + 1) % 3)), "repeats a page"),
            (|number| numbered(number, 0, Some(number + 1)), "more than 10 pages"),
            (|number| numbered(number, 10, Some(number + 1)), "more than 25 objects"),
            (
                |_| Page { objects: vec![named(&"n".repeat(21))], next: None },
                "none may have more than 20",
            ),
            (|_| Page { objects: Vec::new(), next: Some("t".repeat(21)) }, "more than 20 bytes"),
        ];
        for (pages, why) in cases {
            let error = seen(pages, small()).expect_err(why);
            assert!(error.message.contains(why), "{error}");
            assert!(!error.retryable, "{error}");
        }
        let slow = Bounds { time: Duration::ZERO, ..small() };
        let error = seen(|number| numbered(number, 0, Some(number + 1)), slow).expect_err("late");
        assert!(error.message.contains("not ended after 0 s"), "{error}");
    }
}
