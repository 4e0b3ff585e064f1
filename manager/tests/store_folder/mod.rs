//! The folder of a store that is open: a manager whose files are taken from under it ends at once.

use std::sync::Arc;

use redpoll_manager::store::Store;
use tempfile::TempDir;

/// It goes when its store is closed.
pub(crate) struct StoreFolder {
    _folder: TempDir,
    store: Arc<dyn Store>,
}

impl StoreFolder {
    pub(crate) fn of(folder: TempDir, store: &Arc<dyn Store>) -> Self {
        Self { _folder: folder, store: store.clone() }
    }
}

impl Drop for StoreFolder {
    fn drop(&mut self) {
        let store = self.store.clone();
        // within a runtime another one cannot be waited for
        let closing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(store.close());
        });
        closing.join().unwrap();
    }
}
