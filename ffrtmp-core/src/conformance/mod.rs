//! One conformance suite per trait; every implementation and every decorator runs them.
