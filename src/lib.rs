//! mimi-gateway.

pub mod adapters;
pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod gateway;
pub mod lifecycle;
pub mod mimi;
pub mod mls;
pub mod provider;
