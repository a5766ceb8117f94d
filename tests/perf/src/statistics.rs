//! What rounds come to.

/// The value in the middle. NaN when there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// How many times as much one thing took as another: the median over the rounds of what each of them says, so that a machine
/// that changes its pace meanwhile changes little.
pub(crate) fn ratio(of: impl IntoIterator<Item = f64>, to: impl IntoIterator<Item = f64>) -> f64 {
    median(of.into_iter().zip(to).map(|(of, to)| of / to))
}

/// How far apart the values are: from the least to the greatest, as a share of the median.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> f64 {
    let sorted = sorted(values);
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(greatest)) => (greatest - least) / median(sorted.iter().copied()),
        _ => f64::NAN,
    }
}

/// The least of the values that are not smaller than this share of all (0 to 1).
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_round() {
        let (slow_at_first, the_other) = ([20.0, 10.0, 10.0], [10.0, 5.0, 6.0]);
        assert_eq!(ratio(slow_at_first, the_other), 2.0);
    }

    #[test]
    fn the_spread_is_a_share_of_the_median() {
        assert_eq!(spread([8.0, 12.0, 10.0]), 0.4);
        assert_eq!(spread([7.0]), 0.0);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 500.0);
        assert_eq!(quantile(&values, 0.999), 999.0);
        assert_eq!(quantile(&values, 1.0), 1000.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
