//! Retries on a clock that needs no time.

use super::*;
use crate::store::fault::{Fault, FaultStore, Operation};
use crate::store::local::LocalStore;
use crate::store::pace::TestPace;
use crate::store::put::Body;

struct Bench {
    _dir: tempfile::TempDir,
    pace: Arc<TestPace>,
    faults: Arc<FaultStore<LocalStore>>,
    store: Retrying<Arc<FaultStore<LocalStore>>>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Arc::new(FaultStore::new(LocalStore::new(dir.path())));
    let pace = Arc::new(TestPace::default());
    let policy = RetryPolicy {
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(5),
        give_up_after: Duration::from_secs(60),
        give_up_unheard: Duration::from_secs(20),
    };
    let store = Retrying::with_pace(Arc::clone(&faults), policy, pace.clone());
    Bench { _dir: dir, pace, faults, store }
}

fn put<'a>(bytes: &'a [u8]) -> Put<'a> {
    Put::new(Body::Bytes(bytes), "application/gzip")
}

fn seconds(pace: &TestPace) -> Vec<u64> {
    pace.waits().iter().map(Duration::as_secs).collect()
}

#[test]
fn the_bound_of_the_waits_doubles_up_to_the_longest() {
    let bench = bench();
    for _ in 0..5 {
        bench.faults.next(Operation::List, Fault::Unreachable);
    }
    assert_eq!(bench.store.list().expect("a list"), []);
    assert_eq!(seconds(&bench.pace), [1, 2, 4, 5, 5]);
}

#[test]
fn what_the_store_says_about_when_to_come_back_is_heeded() {
    let bench = bench();
    bench.faults.next(Operation::Put, Fault::Busy(Duration::from_secs(40)));
    bench.store.put_new("a", put(b"a")).expect("put");
    assert_eq!(seconds(&bench.pace), [40]);
}

#[test]
fn what_no_retry_can_mend_ends_at_once() {
    let bench = bench();
    bench.faults.next(Operation::Put, Fault::Denied);
    let error = bench.store.put_new("a", put(b"a")).expect_err("denied");
    assert_eq!(error.kind, StoreErrorKind::AccessDenied);
    assert_eq!(bench.faults.calls(Operation::Put), 1);
    assert_eq!(seconds(&bench.pace), [] as [u64; 0]);
}

#[test]
fn a_put_whose_answer_was_lost_is_found_to_be_done() {
    let bench = bench();
    bench.faults.next(Operation::Put, Fault::AnswerLost);
    let object = bench.store.put_new("a", put(b"content")).expect("put");
    assert_eq!(object.size, 7);
    assert_eq!(bench.faults.calls(Operation::Put), 2);
    assert_eq!(bench.store.list().expect("a list").len(), 1);
}

#[test]
fn a_removal_whose_answer_was_lost_is_found_to_be_done() {
    let bench = bench();
    bench.store.put_new("a", put(b"a")).expect("put");
    bench.faults.next(Operation::Remove, Fault::AnswerLost);
    assert_eq!(bench.store.remove("a", None).expect("removed"), Removed::Gone);
    assert_eq!(bench.faults.calls(Operation::Remove), 2);
}

#[test]
fn a_store_that_was_never_heard_of_is_given_up_sooner_than_one_that_was() {
    for (heard, longest) in [(false, 20), (true, 60)] {
        let bench = bench();
        if heard {
            bench.store.list().expect("a list");
        }
        for _ in 0..100 {
            bench.faults.next(Operation::List, Fault::Unreachable);
        }
        let error = bench.store.list().expect_err("given up");
        assert_eq!(error.kind, StoreErrorKind::Unreachable);
        assert!(error.message.contains("given up after"), "{}", error.message);
        let waited: u64 = seconds(&bench.pace).iter().sum();
        assert!(waited <= longest && waited > longest - 6, "{waited} s of {longest} s");
    }
}

#[test]
fn credentials_that_cannot_be_got_are_given_up_like_a_store_that_was_never_heard_of() {
    let bench = bench();
    for _ in 0..100 {
        bench.faults.next(Operation::List, Fault::NoCredentials);
    }
    let error = bench.store.list().expect_err("given up");
    assert_eq!(error.kind, StoreErrorKind::NoCredentials);
    let waited: u64 = seconds(&bench.pace).iter().sum();
    assert!(waited <= 20, "{waited} s");
}

#[test]
fn an_upload_that_goes_to_and_fro_is_no_progress_for_ever() {
    let mut progress = UploadProgress::default();
    let renewals = (0..1_000).filter(|_| progress.is_some(0, 1 << 20)).count();
    assert_eq!(renewals, 101);
    assert!(!progress.is_some(1 << 20, (1 << 20) + 1), "a byte is none");
    assert!(progress.is_some(1 << 20, 2 << 20), "further than ever is some");
}

#[test]
fn a_body_of_which_a_byte_comes_now_and_then_is_given_up() {
    let bench = bench();
    let bytes = vec![7; 1_000];
    bench.store.put_new("a", put(&bytes)).expect("put");
    for _ in 0..bytes.len() {
        bench.faults.next(Operation::Open, Fault::CutAfter(1));
    }
    let mut body = bench.store.open("a", None, 0).expect("opened");
    body.read_to_end(&mut Vec::new()).expect_err("no progress");
    assert!(bench.faults.calls(Operation::Open) < 100);
}

#[test]
fn every_wait_ends_when_it_is_to_stop() {
    type Call = fn(&dyn BackupStore) -> Result<(), StoreError>;
    let calls: [(Operation, Call); 4] = [
        (Operation::List, |store| store.list().map(drop)),
        (Operation::Stat, |store| store.stat("a").map(drop)),
        (Operation::Remove, |store| store.remove("a", None).map(drop)),
        (Operation::Abort, |store| store.abort_stale_uploads(Duration::ZERO).map(drop)),
    ];
    for (operation, call) in calls {
        let bench = bench();
        let flag = Arc::new(AtomicBool::new(true));
        let store = bench.store.stopping(Stop::when(Arc::clone(&flag)));
        bench.faults.next(operation, Fault::Unreachable);
        let error = call(&store).expect_err("stopped");
        assert_eq!(error.kind, StoreErrorKind::Interrupted, "{operation:?}");
        assert_eq!(bench.faults.calls(operation), 1, "{operation:?}");
    }
}

#[test]
fn a_body_that_is_cut_goes_on_where_it_was_however_it_was_cut() {
    for fault in [Fault::CutAfter(10), Fault::EndsAfter(10), Fault::CutAfter(0)] {
        let bench = bench();
        let bytes: Vec<u8> = (0..100).collect();
        bench.store.put_new("a", put(&bytes)).expect("put");
        bench.faults.next(Operation::Open, fault);
        bench.faults.next(Operation::Open, Fault::Unreachable);
        bench.faults.next(Operation::Open, fault);
        let mut read = Vec::new();
        let mut body = bench.store.open("a", None, 5).expect("opened");
        body.read_to_end(&mut read).expect("read");
        assert_eq!(read, bytes[5..], "{fault:?}");
        assert!(bench.faults.calls(Operation::Open) >= 3, "{fault:?}");
    }
}

#[test]
fn a_wait_ends_when_it_is_to_stop() {
    let bench = bench();
    bench.faults.next(Operation::Put, Fault::Unreachable);
    let wanted = Put { interrupted: Some(&|| true), ..put(b"a") };
    let error = bench.store.put_new("a", wanted).expect_err("stopped");
    assert_eq!(error.kind, StoreErrorKind::Interrupted);
    assert_eq!(bench.store.stat("a").expect("a look"), None);
}

#[test]
fn the_real_jitter_is_between_nothing_and_the_bound() {
    let pace = RealPace::default();
    let bound = Duration::from_secs(8);
    let drawn: Vec<Duration> = (0..64).map(|_| pace.jitter(bound)).collect();
    assert!(drawn.iter().all(|wait| *wait <= bound));
    assert!(drawn.iter().any(|wait| *wait < bound / 2));
    assert!(drawn.iter().any(|wait| *wait > bound / 2));
}
