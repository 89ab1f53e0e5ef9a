//! Moving a [`MemoryStore`]'s content.

use async_trait::async_trait;
use ffrtmp_core::Result;
use ffrtmp_core::node::Node;

use super::MemoryStore;
use crate::transfer::{Parcel, Portable, not_empty};

#[async_trait]
impl Portable for MemoryStore {
    async fn export(&self, after: u64, limit: usize) -> Result<Vec<Parcel>> {
        self.with(|state| Ok(state.export(after, limit)))
    }

    async fn last_sequence(&self) -> Result<u64> {
        self.with(|state| Ok(state.last_sequence()))
    }

    async fn begin_import(&self) -> Result<u64> {
        self.with(|state| if state.is_empty() { Ok(0) } else { Err(not_empty()) })
    }

    async fn import(&self, parcels: Vec<Parcel>) -> Result<()> {
        self.with(|state| {
            parcels.into_iter().for_each(|parcel| state.import(parcel));
            Ok(())
        })
    }

    async fn import_nodes(&self, nodes: Vec<Node>) -> Result<()> {
        self.with(|state| {
            state.import_nodes(nodes);
            Ok(())
        })
    }

    async fn end_import(&self, last_sequence: u64) -> Result<()> {
        self.with(|state| {
            state.number_from(last_sequence);
            Ok(())
        })
    }
}
