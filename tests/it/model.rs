//! The protocol as a model: what the program, crashes and an attacker without a key can
//! do to a log, explored breadth first and completely to a bound. States are real log
//! directories, the program's part is done by the program, and the verdict that is
//! judged is its own.
//!
//! The bound: from a log of two sealed segments, every sequence of up to [`DEPTH`]
//! actions out of the 7 of the program's and the 17 of the attacker's (see [`Action`]),
//! and each of these followed by each of the program's. `AUDITCTL_MODEL_DEPTH` explores
//! further. States that nothing can tell apart are explored once.
//!
//! What the model leaves out: an attacker who has a key, or who changes the key's files
//! (then he has the log's, or it is another log); files that are no regular files and
//! attacks while a writer runs (`forgery.rs`); a crash in the middle of an operation
//! (`power_loss.rs`, `crash.rs`).

mod actions;
mod judge;
mod world;

use std::collections::HashSet;
use std::fmt::Write;

use actions::{Action, first};
use rayon::prelude::*;
use world::State;

/// How many actions in a row, unless the environment says otherwise.
const DEPTH: usize = 2;

/// What was explored.
struct Explored {
    states: usize,
    failures: Vec<String>,
}

/// Every sequence of so many actions, each followed by each of the program's.
fn explore(depth: usize, verdict: judge::Verdict) -> Explored {
    let all: Vec<Action> = Action::HONEST.into_iter().chain(Action::ATTACKS).collect();
    let mut levels = vec![&all[..]; depth];
    levels.push(&Action::HONEST);
    explore_levels(&levels, verdict)
}

fn explore_levels(levels: &[&[Action]], verdict: judge::Verdict) -> Explored {
    let first = first();
    let mut known = HashSet::from([first.fingerprint()]);
    let mut explored = Explored { states: 1, failures: Vec::new() };
    let mut level = vec![first];
    for actions in levels {
        let steps: Vec<(&State, Action)> = level
            .iter()
            .flat_map(|state| actions.iter().map(move |action| (state, *action)))
            .collect();
        let reached: Vec<Result<Option<State>, String>> =
            steps.par_iter().map(|(state, action)| step(state, *action, verdict)).collect();
        level = Vec::new();
        for state in reached {
            match state {
                Err(failure) => explored.failures.push(failure),
                Ok(Some(state)) if known.insert(state.fingerprint()) => level.push(state),
                Ok(_) => {}
            }
        }
        explored.states += level.len();
    }
    explored
}

fn step(state: &State, action: Action, verdict: judge::Verdict) -> Result<Option<State>, String> {
    let told = |error| format!("{:?} + {action:?}: {error}", state.path);
    let Some(after) = action.apply(state).map_err(told)? else { return Ok(None) };
    judge::check(&after, verdict).map_err(told)?;
    Ok(Some(after))
}

fn told(explored: &Explored) -> String {
    let mut told = format!("{} in {} states:\n", explored.failures.len(), explored.states);
    for failure in &explored.failures {
        let _ = writeln!(told, "{failure}");
    }
    told
}

#[test]
fn no_verdict_passes_over_a_change_and_nothing_acknowledged_is_lost_in_any_state_to_the_bound() {
    let wanted = std::env::var("AUDITCTL_MODEL_DEPTH").ok();
    let depth = wanted.map_or(DEPTH, |text| text.parse().expect("a number"));
    let explored = explore(depth, judge::own);
    assert!(explored.failures.is_empty(), "{}", told(&explored));
    assert!(explored.states >= 1_000, "{} states", explored.states);
}

#[test]
fn the_model_finds_verdicts_that_believe_too_much() {
    let all: Vec<Action> = Action::HONEST.into_iter().chain(Action::ATTACKS).collect();
    for (verdict, found) in [
        (judge::believes_the_manifest as judge::Verdict, "[] + RemoveFirst: it passes from"),
        (judge::overlooks_the_tail, "[] + Append(\"approve.payment\"): it passes with a forged"),
        (|_, _| Some(judge::Passed::all()), "[] + AlterActive: it passes with an altered"),
        (|_, _| Some(judge::Passed::all()), "[] + Cut: it passes with"),
        (|_, _| None, "[] + Close: an honest log"),
    ] {
        let told = told(&explore_levels(&[&all], verdict));
        assert!(told.contains(found), "{found} is not in {told}");
    }
}
