//! Two things timed in turn, and whether the machine had anything else to do.

use std::fmt;
use std::time::Instant;

/// How often two things are timed in turn.
pub(crate) const PAIRS: usize = 9;
/// Other processes may take so much of the machine's time, and it still counts as quiet.
const QUIET: f64 = 0.05;

/// Several values: the one in the middle, and how far they reach.
#[derive(Clone, Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn median(&self) -> f64 {
        self.part(0.5)
    }

    /// The value below which such a part of them is.
    pub(crate) fn part(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }
}

/// As a ratio is told: `0.83 (from 0.79 to 0.86, half of them 0.81 to 0.84)`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |part| self.part(part);
        write!(
            f,
            "{:.2} (from {:.2} to {:.2}, half of them {:.2} to {:.2})",
            self.median(),
            at(0.0),
            at(1.0),
            at(0.25),
            at(0.75)
        )
    }
}

/// What was measured of each of the two, and of each pair the first to the second.
pub(crate) struct Pairs {
    pub(crate) first: Spread,
    pub(crate) second: Spread,
    pub(crate) ratio: Spread,
}

impl Pairs {
    /// Measures both so often. In every other pair `second` comes first, so that neither
    /// always has what the other leaves behind.
    pub(crate) fn in_turn(mut first: impl FnMut() -> f64, mut second: impl FnMut() -> f64) -> Self {
        Self::of((0..PAIRS).map(|nth| {
            if nth % 2 == 0 {
                let measured = first();
                (measured, second())
            } else {
                let measured = second();
                (first(), measured)
            }
        }))
    }

    pub(crate) fn of(measured: impl Iterator<Item = (f64, f64)>) -> Self {
        let (first, second): (Vec<f64>, Vec<f64>) = measured.unzip();
        let ratio = first.iter().zip(&second).map(|(first, second)| first / second).collect();
        Self { first: Spread::of(first), second: Spread::of(second), ratio: Spread::of(ratio) }
    }
}

/// The machine while something is measured.
pub(crate) struct Machine {
    begun: Times,
    since: Instant,
}

/// Of all processors together, and of this process and those it waited for, in the same unit.
#[derive(Clone, Copy)]
struct Times {
    all: u64,
    busy: u64,
    stolen: u64,
    own: u64,
}

impl Times {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap();
        let line = text.lines().next().unwrap();
        let of: Vec<u64> =
            line.split_whitespace().skip(1).take(8).map(|n| n.parse().unwrap()).collect();
        // user nice system idle iowait irq softirq steal
        let [user, nice, system, idle, wait, irq, soft, stolen] = of[..] else { panic!("{line}") };
        let busy = user + nice + system + irq + soft;
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        let after_name = text.rsplit_once(") ").unwrap().1;
        let own: Vec<u64> =
            after_name.split_whitespace().skip(11).take(4).map(|n| n.parse().unwrap()).collect();
        Self { all: busy + idle + wait + stolen, busy, stolen, own: own.iter().sum() }
    }
}

impl Machine {
    pub(crate) fn watch() -> Self {
        Self { begun: Times::now(), since: Instant::now() }
    }
}

/// Whether it was quiet. What the kernel does for this process on its own threads, such as
/// writing its pages to the disk, counts as another's.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = Times::now();
        let all = (now.all - self.begun.all).max(1) as f64;
        let busy = (now.busy - self.begun.busy) as f64;
        let own = (now.own - self.begun.own) as f64;
        let others = ((busy - own) / all).max(0.0);
        let stolen = (now.stolen - self.begun.stolen) as f64 / all;
        let is_quiet = others + stolen <= QUIET;
        let load = std::fs::read_to_string("/proc/loadavg").unwrap();
        write!(
            f,
            "machine {}: others had {:.1}% of its time and the host {:.1}%, in {:.0} s; load {}",
            if is_quiet { "quiet" } else { "NOT QUIET" },
            others * 100.0,
            stolen * 100.0,
            self.since.elapsed().as_secs_f64(),
            load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
        )
    }
}
