//! Listings of more than one page: the first says how many there will be, and the rest is asked for in ranges beside each other.
//!
//! Most names in a repository begin with the hex digits of a hash, so what part of them the first page covers says how many pages there are, and where to divide the rest. That
//! is a guess about how long it takes and nothing else: ranges cover every name, whatever it looks like, and the result is the one that page after page would give.
//!
//! A server is not believed when it says that it began where it was told: a range whose names are not in order, or not behind its beginning, is
//! given up, and the listing goes on page by page.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::store::{Listed, StoreError};

/// Ranges asked for at once.
const AT_ONCE: usize = 8;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// With the first name.
    Start,
    /// Where the server said that the page before it ends.
    Token(String),
    /// Behind a name.
    After(String),
}

/// One page as the server gave it.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// What is ours in it.
    pub(super) found: Vec<Listed>,
    /// Where it goes on; an empty one if the server says that it does, and not where.
    pub(super) next: Option<String>,
    /// The first name and the last, foreign ones among them.
    ends: Option<(String, String)>,
    /// A name came before one that is less.
    unordered: bool,
}

impl Page {
    /// Notes a name of the page, foreign or not.
    pub(super) fn saw(&mut self, name: &str) {
        match &mut self.ends {
            Some((_, last)) => {
                self.unordered |= last.as_str() >= name;
                name.clone_into(last);
            }
            None => self.ends = Some((name.to_owned(), name.to_owned())),
        }
    }
}

/// All that `page` gives, sorted. `endless` is the error of a page that goes on and does not say where, or says what the one before it said.
pub(super) async fn list<F>(
    prefix: &str,
    page: &(impl Fn(From) -> F + Sync),
    endless: impl Fn() -> StoreError + Sync,
) -> Result<Vec<Listed>, StoreError>
where
    F: Future<Output = Result<Page, StoreError>> + Send,
{
    let first = page(From::Start).await?;
    let mut found = first.found;
    if let Some(token) = first.next {
        let last = first.ends.filter(|_| !first.unordered).map(|(_, last)| last).unwrap_or_default();
        let rest = match divide(prefix, &last) {
            bounds if bounds.is_empty() => None,
            bounds => in_ranges(page, &endless, &token, &last, bounds).await?,
        };
        match rest {
            Some(rest) => found.extend(rest),
            None => page_by_page(page, &endless, token, &mut found).await?,
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

async fn page_by_page<F>(
    page: &(impl Fn(From) -> F + Sync),
    endless: &(impl Fn() -> StoreError + Sync),
    mut token: String,
    found: &mut Vec<Listed>,
) -> Result<(), StoreError>
where
    F: Future<Output = Result<Page, StoreError>> + Send,
{
    loop {
        if token.is_empty() {
            return Err(endless());
        }
        let next = page(From::Token(token.clone())).await?;
        found.extend(next.found);
        match next.next {
            None => return Ok(()),
            Some(next) if next == token => return Err(endless()),
            Some(next) => token = next,
        }
    }
}

/// Where to divide the names behind `last`, the last one of the first page: so that a range is a page or a little less if names are hashes. Empty if they are not.
fn divide(prefix: &str, last: &str) -> Vec<String> {
    let digits = last.strip_prefix(prefix).and_then(|name| name.get(..2));
    let lower = |digits: &&str| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some(covered) = digits.filter(lower).and_then(|digits| usize::from_str_radix(digits, 16).ok()) else {
        return Vec::new();
    };
    // A page covered so many 256ths and a part of one; an eighth less, so that few ranges are a page and a bit.
    let step = (covered * 7).div_ceil(8).max(1);
    (covered + step..256).step_by(step).map(|at| format!("{prefix}{at:02x}")).collect()
}

/// What lies behind the first page, or `None` if the server does not keep the order that this rests on.
async fn in_ranges<F>(
    page: &(impl Fn(From) -> F + Sync),
    endless: &(impl Fn() -> StoreError + Sync),
    token: &str,
    last: &str,
    bounds: Vec<String>,
) -> Result<Option<Vec<Listed>>, StoreError>
where
    F: Future<Output = Result<Page, StoreError>> + Send,
{
    let mut begins = vec![(From::Token(token.to_owned()), last.to_owned())];
    begins.extend(bounds.iter().map(|bound| (From::After(bound.clone()), bound.clone())));
    let ends = bounds.into_iter().map(Some).chain([None]);
    let divided: Vec<_> = begins.into_iter().zip(ends).collect();
    let mut ranges =
        stream::iter(divided).map(|((from, after), until)| range(page, endless, from, after, until)).buffered(AT_ONCE);
    let mut found = Vec::new();
    while let Some(range) = ranges.try_next().await? {
        match range {
            Some(range) => found.extend(range),
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// The names behind `after` up to `until`; `None` if what comes is not in order.
async fn range<F>(
    page: &(impl Fn(From) -> F + Sync),
    endless: &(impl Fn() -> StoreError + Sync),
    mut from: From,
    mut after: String,
    until: Option<String>,
) -> Result<Option<Vec<Listed>>, StoreError>
where
    F: Future<Output = Result<Page, StoreError>> + Send,
{
    let within = |name: &str| until.as_deref().is_none_or(|until| name <= until);
    let mut found = Vec::new();
    loop {
        if from == From::Token(String::new()) {
            return Err(endless());
        }
        let next = page(from.clone()).await?;
        found.extend(next.found.into_iter().filter(|listed| within(listed.key.as_str())));
        if let Some((first, last)) = next.ends {
            if next.unordered || first <= after {
                return Ok(None);
            }
            after = last;
        }
        from = match next.next {
            Some(token) if within(&after) => match From::Token(token) {
                same if same == from => return Err(endless()),
                next => next,
            },
            _ => return Ok(Some(found)),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::base::clock::Time;
    use crate::base::random::{STEP, mix};
    use crate::store::Key;

    /// Names on a page.
    const PAGE: usize = 10;
    const REQUEST: Duration = Duration::from_millis(50);

    /// What a server makes of what it is asked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Manner {
        Good,
        /// It does not know `start-after`.
        Deaf,
        /// It begins with the name itself.
        Inclusive,
        /// Names come in no order.
        Unordered,
        /// It says that it goes on, and not where.
        Endless,
        /// It always goes on at the same place.
        Circling,
    }

    struct Server {
        names: BTreeSet<String>,
        manner: Manner,
        asked: Mutex<usize>,
        fails_at: Option<usize>,
        /// Names that come and go while it is asked: on every other page they are there.
        flickers: BTreeSet<String>,
    }

    fn server(names: BTreeSet<String>, manner: Manner) -> Server {
        Server { names, manner, asked: Mutex::default(), fails_at: None, flickers: BTreeSet::new() }
    }

    fn endless() -> StoreError {
        StoreError::Unsupported { store: "server".into(), operation: "end" }
    }

    impl Server {
        async fn page(&self, prefix: &str, from: From) -> Result<Page, StoreError> {
            let number = {
                let mut asked = self.asked.lock().expect("nobody panicked");
                *asked += 1;
                *asked - 1
            };
            sleep(REQUEST).await;
            if self.fails_at == Some(number) {
                return Err(StoreError::Gone { store: "server".into(), source: "told to".into() });
            }
            let shown = |name: &&String| {
                name.starts_with(prefix) && (number.is_multiple_of(2) || !self.flickers.contains(*name))
            };
            let mut names: Vec<&String> = self.names.iter().filter(shown).collect();
            if self.manner == Manner::Unordered {
                names.sort_by_key(|name| blake3::hash(name.as_bytes()).to_hex().to_string());
            }
            let skip = match &from {
                From::Start => 0,
                // A token names the last name of the page before it.
                From::Token(token) if self.manner == Manner::Unordered => {
                    names.iter().position(|name| *name == token).map_or(0, |at| at + 1)
                }
                From::Token(token) => names.partition_point(|name| *name <= token),
                From::After(_) if self.manner == Manner::Deaf => 0,
                From::After(after) if self.manner == Manner::Inclusive => names.partition_point(|name| *name < after),
                From::After(after) if self.manner == Manner::Unordered => {
                    names.iter().position(|name| *name > after).unwrap_or(names.len())
                }
                From::After(after) => names.partition_point(|name| *name <= after),
            };
            let mut page = Page::default();
            for name in names.iter().skip(skip).take(PAGE) {
                page.saw(name);
                if let Ok(key) = Key::new(name.as_str()) {
                    page.found.push(Listed { key, size: 1, modified: Time(0) });
                }
            }
            if names.len() > skip + PAGE {
                let last = names[skip + PAGE - 1].clone();
                page.next = Some(match self.manner {
                    Manner::Endless => String::new(),
                    Manner::Circling if from != From::Start => names[PAGE - 1].clone(),
                    _ => last,
                });
            }
            Ok(page)
        }

        /// What a listing gives, and how many rounds and requests it takes.
        async fn list(&self, prefix: &str) -> (Result<Vec<String>, StoreError>, u128, usize) {
            let (begun, asked) = (Instant::now(), *self.asked.lock().expect("nobody panicked"));
            let page = |from: From| self.page(prefix, from);
            let listed = list(prefix, &page, endless).await;
            let rounds = (begun.elapsed() + REQUEST / 4).as_millis() / REQUEST.as_millis();
            let names = listed.map(|found| found.into_iter().map(|listed| listed.key.to_string()).collect());
            (names, rounds, *self.asked.lock().expect("nobody panicked") - asked)
        }

        /// What is to come of it.
        fn expected(&self, prefix: &str) -> Vec<String> {
            let ours = |name: &&String| name.starts_with(prefix) && Key::new(name.as_str()).is_ok();
            self.names.iter().filter(ours).cloned().collect()
        }
    }

    fn hex(number: u64) -> String {
        let one = mix(number.wrapping_mul(STEP));
        format!("{one:016x}{:016x}", mix(one))
    }

    /// Names as a repository has them.
    fn packs(count: u64) -> BTreeSet<String> {
        (0..count).map(hex).map(|hex| format!("packs/{}/{hex}", &hex[..2])).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn many_pages_are_asked_for_at_once_and_give_the_same() {
        for count in [0, 1, 9, 10, 11, 20, 21, 35, 100, 256, 650, 2000, 6000] {
            let server = server(packs(count), Manner::Good);
            let (names, rounds, requests) = server.list("packs/").await;
            assert_eq!(names.expect("listed"), server.expected("packs/"), "{count}");
            let pages = usize::try_from(count).expect("small").div_ceil(PAGE).max(1);
            assert!(requests >= pages && requests <= pages * 2 + 2, "{count}: {requests} requests for {pages} pages");
            // One after another, eight at a time: with some room for ranges of two pages.
            let most = 3 + requests.div_ceil(AT_ONCE) * 2;
            assert!(rounds <= most as u128, "{count}: {rounds} rounds for {requests} requests");
            if count >= 650 {
                assert!(rounds * 3 < pages as u128, "{count}: {rounds} rounds for {pages} pages");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_are_no_hashes_are_all_there() {
        let mut names = packs(300);
        // Before, between and behind the ranges, and where they are divided.
        for foreign in ["packs/", "packs/!", "packs/00", "packs/80", "packs/README", "packs/fF", "packs/zz", "packs/~"]
        {
            names.insert(foreign.to_owned());
        }
        names.extend((0..=255).map(|number| format!("packs/{number:02x}")));
        names.extend(["index/00", "packs", "packsaddle", "snapshots/00"].map(str::to_owned));
        // All of one folder; names without any digit; hashes right behind the prefix.
        names.extend((0..300).map(|number| format!("doomed/7f{number:03}")));
        names.extend((0..50).map(|number| format!("leases/nobody/{number:03}")));
        names.extend((0..200).map(|number| format!("index/{}", hex(number))));
        let server = server(names, Manner::Good);
        for prefix in ["", "packs/", "doomed/", "leases/", "index/", "nothing/"] {
            let (names, ..) = server.list(prefix).await;
            assert_eq!(names.expect("listed"), server.expected(prefix), "{prefix:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_begin_where_it_is_told_is_asked_page_by_page() {
        for manner in [Manner::Deaf, Manner::Inclusive, Manner::Unordered] {
            let mut names = packs(400);
            // One that begins with the bound itself shows that it does.
            names.extend((0..=255).map(|number| format!("packs/{number:02x}")));
            let server = server(names, manner);
            let (names, ..) = server.list("packs/").await;
            assert_eq!(names.expect("listed"), server.expected("packs/"), "{manner:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_does_not_end_is_an_error() {
        for manner in [Manner::Endless, Manner::Circling] {
            for names in [packs(400), (0..400).map(|number| format!("packs/x{number:03}")).collect()] {
                let server = server(names, manner);
                let error = server.list("packs/").await.0.expect_err("less than all");
                assert!(matches!(error, StoreError::Unsupported { operation: "end", .. }), "{manner:?}: {error:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whichever_page_fails_the_listing_fails() {
        let pages = server(packs(300), Manner::Good).list("packs/").await.2;
        assert!(pages > 25, "{pages}");
        for number in 0..pages {
            let mut server = server(packs(300), Manner::Good);
            server.fails_at = Some(number);
            let error = server.list("packs/").await.0.expect_err("less than all");
            assert!(matches!(error, StoreError::Gone { .. }), "{number}: {error:?}");
        }
    }

    /// A list may show the past, each page another one: what was there all the time is there once, and nothing is there twice.
    #[tokio::test(start_paused = true)]
    async fn what_stays_is_listed_once_whatever_comes_and_goes() {
        let all = packs(500);
        let mut server = server(all.clone(), Manner::Good);
        server.flickers = all.iter().step_by(3).cloned().collect();
        let names = server.list("packs/").await.0.expect("listed");
        assert!(names.is_sorted_by(|a, b| a < b), "in order, and none twice");
        let there: BTreeSet<String> = names.into_iter().collect();
        assert!(all.difference(&server.flickers).all(|name| there.contains(name)), "what stays is there");
        assert!(there.is_subset(&all));
    }

    #[test]
    fn ranges_are_a_page_or_a_little_less() {
        assert_eq!(
            divide("packs/", "packs/03/03ab"),
            (6..256).step_by(3).map(|at| format!("packs/{at:02x}")).collect::<Vec<_>>()
        );
        assert_eq!(divide("index/", "index/55"), ["index/a0", "index/eb"]);
        assert_eq!(divide("index/", "index/f0"), Vec::<String>::new());
        assert_eq!(divide("packs/", "packs/00/00ff").len(), 255);
        for last in ["packs/", "packs/a", "packs/AB", "packs/zz", "packs/é", "index/00", ""] {
            assert_eq!(divide("packs/", last), Vec::<String>::new(), "{last:?}");
        }
    }
}
