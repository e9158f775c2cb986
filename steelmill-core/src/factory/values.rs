//! Plain shared values, such as configuration: one level per factory, looked up from the innermost outwards.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Factory;
use super::slots::Key;
use crate::Result;

/// Builds a daemon instead of its `build`.
pub(crate) type Recipe<T> = Arc<dyn Fn(&mut Factory) -> Result<T> + Send + Sync>;

/// The values of a factory and of its ancestors.
#[derive(Default)]
pub(crate) struct Values {
    /// `Arc<V>` by the key of `V`.
    own: BTreeMap<Key, Box<dyn Any + Send + Sync>>,
    /// How daemons are built here, instead of by their `build`: a `Recipe<T>` by the key of the daemon.
    recipes: BTreeMap<Key, Box<dyn Any + Send + Sync>>,
    /// Whether there are recipes here or outside.
    has_recipes: bool,
    outer: Option<Arc<Values>>,
}

impl Values {
    pub(crate) fn inside(outer: Arc<Values>) -> Self {
        let has_recipes = outer.has_recipes;
        Values { own: BTreeMap::new(), recipes: BTreeMap::new(), has_recipes, outer: Some(outer) }
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

    pub(crate) fn insert_recipe<T: 'static>(&mut self, key: Key, recipe: Recipe<T>) {
        self.recipes.insert(key, Box::new(recipe));
        self.has_recipes = true;
    }

    /// The nearest recipe for this daemon.
    pub(crate) fn recipe<T: 'static>(&self, key: &Key) -> Option<Recipe<T>> {
        let mut level = Some(self).filter(|values| values.has_recipes);
        while let Some(values) = level {
            if let Some(recipe) = values.recipes.get(key) {
                return recipe.downcast_ref::<Recipe<T>>().cloned();
            }
            level = values.outer.as_deref();
        }
        None
    }

    /// Whether there are recipes here or outside.
    pub(crate) fn has_recipes(&self) -> bool {
        self.has_recipes
    }

    pub(crate) fn has_own_recipe(&self, key: &Key) -> bool {
        self.recipes.contains_key(key)
    }

    pub(crate) fn has_own_value(&self, key: &Key) -> bool {
        self.own.contains_key(key)
    }

    /// Whether this level has a value or a recipe of its own.
    pub(crate) fn has_own(&self, key: &Key) -> bool {
        self.own.contains_key(key) || self.recipes.contains_key(key)
    }

    /// The keys of the values and recipes of this level.
    pub(crate) fn own_keys(&self) -> impl Iterator<Item = &Key> {
        self.own.keys().chain(self.recipes.keys())
    }

    pub(crate) fn own_len(&self) -> usize {
        self.own.len() + self.recipes.len()
    }
}
