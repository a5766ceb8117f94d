//! The chart: processor time per request, a panel for each scenario.

use plotters::backend::SVGBackend;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, WHITE};

use super::peer::Peer;
use super::results::{Results, ScenarioResult};
use super::table::name;

const WIDTH: u32 = 880;
/// Where bars begin; names stand left of it.
const NAMES: i32 = 290;
/// Right of the longest bar, for its figure.
const FIGURE: i32 = 90;
const TITLE: u32 = 40;
const BAR: u32 = 24;
const GAP: u32 = 14;

const OURS: RGBColor = RGBColor(0x5b, 0x3f, 0xa8);
const SWAPPING: RGBColor = RGBColor(0x6f, 0x8f, 0xb3);
const FLOOR: RGBColor = RGBColor(0xc4, 0xc8, 0xcf);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// The results as SVG.
pub(crate) fn chart(results: &Results) -> String {
    let heights: Vec<u32> = results.0.iter().map(height).collect();
    let mut svg = String::new();
    {
        let all = SVGBackend::with_string(&mut svg, (WIDTH, TITLE + heights.iter().sum::<u32>())).into_drawing_area();
        all.fill(&WHITE).unwrap();
        let title = "Processor time per request, in µs: less is better";
        write(&all, title, (16, 20), 18, HPos::Left, &BLACK);
        let mut top = TITLE;
        for (result, height) in results.0.iter().zip(heights) {
            let area = all.clone().shrink((0, top), (WIDTH, height));
            panel(&area, result);
            top += height;
        }
        all.present().unwrap();
    }
    svg
}

fn height(result: &ScenarioResult) -> u32 {
    TITLE + BAR * u32::try_from(result.peers.len()).unwrap() + GAP
}

fn panel(area: &Area<'_>, result: &ScenarioResult) {
    write(area, result.scenario.title(), (16, i32::try_from(TITLE / 2).unwrap()), 15, HPos::Left, &BLACK);
    let most = result.peers.iter().map(|peer| peer.cpu).fold(0.0, f64::max);
    for (number, peer) in (0..).zip(&result.peers) {
        let top = i32::try_from(TITLE + BAR * number).unwrap();
        let middle = top + i32::try_from(BAR / 2).unwrap();
        let length = (f64::from(i32::try_from(WIDTH).unwrap() - NAMES - FIGURE) * peer.cpu / most) as i32;
        let colour = match peer.peer {
            Peer::Phantomgate | Peer::PhantomgateWithoutAudit | Peer::PhantomgatePlainRoute => OURS,
            other if other.swaps() => SWAPPING,
            _ => FLOOR,
        };
        let corners = [(NAMES, top + 3), (NAMES + length, top + i32::try_from(BAR).unwrap() - 3)];
        area.draw(&Rectangle::new(corners, colour.filled())).unwrap();
        write(area, &name(peer), (NAMES - 8, middle), 13, HPos::Right, &BLACK);
        write(area, &format!("{:.1}", peer.cpu), (NAMES + length + 6, middle), 13, HPos::Left, &BLACK);
    }
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: u32, side: HPos, colour: &RGBColor) {
    let style = ("sans-serif", size).into_font().color(colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::results::tests::result;
    use crate::peers::scenario::Scenario;

    #[test]
    fn a_bar_is_as_long_as_its_figure_says() {
        let mut results = Results::default();
        results.put(result(Scenario::OneToken, &[(Peer::Phantomgate, 40.0), (Peer::Nginx, 20.0)]));
        let svg = chart(&results);
        let widths: Vec<u32> = svg
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .filter_map(|line| line.split_once("width=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths, [WIDTH, 500, 250], "the ground and two bars:\n{svg}");
        assert!(svg.contains("nginx 1.2.3, no token work"), "{svg}");
    }
}
