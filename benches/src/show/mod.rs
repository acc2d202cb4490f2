//! The report in the forms for readers: a table on a terminal, a page with plots, a part of a
//! document.

mod advice;
mod markdown;
mod numbers;
mod over_time;
mod page;
mod plots;
mod series;
mod style;
mod svg;
mod table;

pub use advice::{Advice, advise};
pub use markdown::{fill_in, markdown};
pub use page::{page, plots_of};
pub use svg::Plot;
pub use table::{table, workloads};
