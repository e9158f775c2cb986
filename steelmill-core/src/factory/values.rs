//! Plain shared values, such as configuration: one level per factory, looked up from the innermost outwards.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::slots::Key;

/// The values of a factory and of its ancestors.
#[derive(Default)]
pub(crate) struct Values {
    /// `Arc<V>` by the key of `V`.
    own: BTreeMap<Key, Box<dyn Any + Send + Sync>>,
    outer: Option<Arc<Values>>,
}

impl Values {
    pub(crate) fn inside(outer: Arc<Values>) -> Self {
        Values { own: BTreeMap::new(), outer: Some(outer) }
    }

    pub(crate) fn insert<V: Send + Sync + 'static>(&mut self, value: V) {
        self.own.insert(Key::value::<V>(), Box::new(Arc::new(value)));
    }

    /// The nearest value of this type.
    pub(crate) fn get<V: Send + Sync + 'static>(&self) -> Option<&Arc<V>> {
        let key = Key::value::<V>();
        let mut level = self;
        loop {
            match level.own.get(&key) {
                Some(value) => return value.downcast_ref(),
                None => level = level.outer.as_ref()?,
            }
        }
    }

    pub(crate) fn has_own(&self, key: &Key) -> bool {
        self.own.contains_key(key)
    }

    pub(crate) fn own_keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.own.keys()
    }
}
