//! Imports that are under way at the socket, by their ids. Whoever goes on with one,
//! because its connection was lost, has to know what arrived by the old connection: so it
//! is let in only once that is over.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Imports {
    under_way: Mutex<HashSet<String>>,
}

impl Imports {
    /// `None` while another connection has it.
    pub(super) fn begin(self: &Arc<Self>, id: &str) -> Option<Import> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way
            .insert(id.to_owned())
            .then(|| Import { imports: Arc::clone(self), id: id.to_owned() })
    }
}

/// A connection's import; over when dropped.
#[derive(Debug)]
pub(super) struct Import {
    imports: Arc<Imports>,
    id: String,
}

impl Drop for Import {
    fn drop(&mut self) {
        let mut under_way = self.imports.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_has_one_connection_at_a_time() {
        let imports = Arc::new(Imports::default());
        let first = imports.begin("a").expect("free");
        assert!(imports.begin("a").is_none());
        assert!(imports.begin("b").is_some(), "another");
        drop(first);
        assert!(imports.begin("a").is_some());
    }
}
