//! The guides: how to do what, what each setting means, and what helps when something is wrong.
//!
//! | Page | Content |
//! | --- | --- |
//! | [`recipes`] | Code by goal: servers, clients, command line tools, sampling, tests |
//! | [`configuration`] | Each setting: its variable, its method, its default and the reason for it |
//! | [`troubleshooting`] | No spans arrive; spans are missing; traces break |
//! | [`vendors`] | The variables for Grafana Cloud, Honeycomb, Datadog, AWS and others |
//! | [`viewer`] | Traces in the browser: the page, its data as JSON, its bounds and its safety |
//! | [`fleet`] | Several endpoints, traces that stay together, several destinations |
//! | [`metrics`] | Request metrics and the pipeline's own |
//! | [`migration`] | From tracing-opentelemetry, one line at a time |
//! | [`migration_of_logs`] | From opentelemetry-appender-tracing, one line at a time |
//! | [`comparison`] | Five other stacks, feature by feature, with sources |
//! | [`scaling`] | What a span costs while depth, open spans, attributes and threads grow |
//! | [`rules`] | The ids of rules, such as `TR-8`, in words and with their sources |

#[doc = include_str!("../docs/recipes.md")]
pub mod recipes {}

#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../docs/troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("../docs/vendors.md")]
pub mod vendors {}

#[doc = include_str!("../docs/viewer.md")]
pub mod viewer {}

#[doc = include_str!("../docs/fleet.md")]
pub mod fleet {}

#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}

#[doc = include_str!("../docs/migrating-from-tracing-opentelemetry.md")]
pub mod migration {}

#[doc = include_str!("../docs/migrating-from-opentelemetry-appender-tracing.md")]
pub mod migration_of_logs {}

#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}

#[doc = include_str!("../docs/scaling.md")]
pub mod scaling {}

#[doc = include_str!("../docs/rules.md")]
pub mod rules {}
