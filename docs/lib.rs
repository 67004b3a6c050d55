//! The pages of the book, as doctests.

#[doc = include_str!("../README.md")]
mod readme {}

#[doc = include_str!("design.md")]
mod design {}

#[doc = include_str!("guarantees.md")]
mod guarantees {}

#[doc = include_str!("your-own-type.md")]
mod your_own_type {}

#[doc = include_str!("running.md")]
mod running {}

#[doc = include_str!("api.md")]
mod api {}

#[doc = include_str!("simulating.md")]
mod simulating {}
