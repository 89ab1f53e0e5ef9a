//! Kills and disturbs a master at every named point of a store.
