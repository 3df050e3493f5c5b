//! mimi-gateway.

pub mod admin;
pub mod cli;
pub mod config;
pub mod mimi;
pub mod mls;
pub mod provider;
