//! x
use kickstage_tests::tests;
tests![];
