//! Health and metrics, rendered for all who ask at the same time at once: a flood of
//! questions costs one rendering after the other, on one thread, and no memory each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::Mutex;

use super::{HealthFormat, RenderHealth};

/// In a stretch of this …
const STRETCH: Duration = Duration::from_secs(1);
/// … so many are rendered of each format; who asks more often gets the last of them.
const IN_A_STRETCH: usize = 10;

/// What is told.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

#[derive(Debug, Default)]
struct Slot {
    last: Option<(Instant, Rendered)>,
    /// When the latest were begun.
    begun: VecDeque<Instant>,
}

impl Slot {
    /// What was told last, if it may be told to one who asked at that time: it was
    /// begun later, or there were too many lately.
    fn fitting(&mut self, asked: Instant) -> Option<Rendered> {
        while self.begun.front().is_some_and(|begun| begun.elapsed() >= STRETCH) {
            self.begun.pop_front();
        }
        let (begun, last) = self.last.as_ref()?;
        (*begun >= asked || self.begun.len() >= IN_A_STRETCH).then(|| last.clone())
    }
}

/// Health and metrics in each format.
pub(super) struct Vitals {
    render: Arc<RenderHealth>,
    slots: [Arc<Mutex<Slot>>; 3],
}

impl Vitals {
    pub(super) fn new(render: Arc<RenderHealth>) -> Self {
        Self { render, slots: Default::default() }
    }

    /// As it is at some moment after the call; under a flood, as it was up to a second
    /// before.
    pub(super) async fn get(&self, format: HealthFormat) -> Result<Rendered, String> {
        let asked = Instant::now();
        let slot = match format {
            HealthFormat::Json => &self.slots[0],
            HealthFormat::Prometheus => &self.slots[1],
            HealthFormat::OpenMetrics => &self.slots[2],
        };
        let mut slot = Arc::clone(slot).lock_owned().await;
        if let Some(fitting) = slot.fitting(asked) {
            return Ok(fitting);
        }
        let render = Arc::clone(&self.render);
        // The slot goes along: who asks and hangs up does not begin a second one.
        let rendering = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            slot.begun.push_back(begun);
            let (status, content_type, body) = render(format);
            let rendered = Rendered { status, content_type, body: Bytes::from(body) };
            slot.last = Some((begun, rendered.clone()));
            rendered
        });
        rendering.await.map_err(|failed| failed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counting() -> (Vitals, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let vitals = Vitals::new(Arc::new(move |_| {
            let nth = counter.fetch_add(1, Ordering::SeqCst);
            (200, "text/plain".to_owned(), nth.to_string())
        }));
        (vitals, count)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime")
    }

    #[test]
    fn each_question_by_itself_is_answered_anew() {
        let (vitals, _) = counting();
        runtime().block_on(async {
            for nth in 0..IN_A_STRETCH {
                let told = vitals.get(HealthFormat::Json).await.expect("rendered");
                assert_eq!(told.body, nth.to_string());
            }
        });
    }

    #[test]
    fn a_flood_of_questions_costs_a_few_answers() {
        let (vitals, count) = counting();
        let vitals = Arc::new(vitals);
        runtime().block_on(async {
            let asking: Vec<_> = (0..10_000)
                .map(|_| {
                    let vitals = Arc::clone(&vitals);
                    tokio::spawn(async move { vitals.get(HealthFormat::Prometheus).await })
                })
                .collect();
            for asked in asking {
                asked.await.expect("no panic").expect("rendered");
            }
        });
        // Ten a second, on however slow a machine.
        assert!(count.load(Ordering::SeqCst) < 1_000, "{count:?}");
    }
}
