//! Figures of a benchmark: a line each, or one JSON object at the end.

/// Collects and prints figures.
pub struct Figures {
    json: bool,
    list: Vec<(String, f64, &'static str)>,
}

impl Figures {
    /// Nothing yet.
    pub fn new(json: bool) -> Self {
        Self { json, list: vec![] }
    }

    /// Adds a figure; as a line it is printed at once.
    pub fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        if !self.json {
            println!("{name} {} {unit}", rounded(value));
        }
        self.list.push((name.to_owned(), value, unit));
    }

    /// Prints the JSON object, if that was asked for.
    pub fn finish(self) {
        if self.json {
            let figure =
                |(name, value, unit)| (name, serde_json::json!({ "value": value, "unit": unit }));
            let object: serde_json::Map<_, _> = self.list.into_iter().map(figure).collect();
            println!("{:#}", serde_json::Value::Object(object));
        }
    }
}

/// Four significant digits, whole numbers as they are.
fn rounded(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        return format!("{value:.0}");
    }
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 9) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_significant_digits() {
        assert_eq!(rounded(2_000_000.0), "2000000");
        assert_eq!(rounded(0.123456), "0.1235");
        assert_eq!(rounded(47.25), "47.25");
        assert_eq!(rounded(1234.5), "1234");
    }
}
