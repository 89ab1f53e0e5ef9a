//! Where the channels of a sound belong, and how they come together where nobody says it.

use std::fmt::Write as _;

/// Layouts of sources that do not name theirs, by number of channels.
const USUAL_LAYOUTS: &[&str] = &["mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1"];
/// What the filter takes that mixes by number.
const MOST: u16 = 64;

/// The channels of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) count: u16,
    /// Layout in libav's words, where the source has one.
    pub(super) named: Option<String>,
}

/// A way to read channels, in libav's notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placing {
    /// What the source of a graph is told.
    pub(super) declared: String,
    /// Filters that bring the channels to where they belong, each with a comma behind it.
    pub(super) filters: String,
    /// Where that is.
    pub(super) layout: String,
}

impl Channels {
    /// Their layout, or the usual one of as many; `None` where nothing says where they belong.
    pub(super) fn layout(&self) -> Option<&str> {
        self.named.as_deref().or_else(|| self.usual())
    }

    /// How many of them are heard apart.
    pub(super) fn apart(&self) -> u16 {
        if self.layout().is_some() { self.count } else { 2 }
    }

    /// Whether they are more than can be mixed.
    pub(super) fn are_too_many(&self) -> bool {
        self.layout().is_none() && self.count > MOST
    }

    /// Ways to read them, the best first: libav does not mix every layout that it has a name for.
    pub(super) fn placings(&self) -> Vec<Placing> {
        let placing = |declared: &str, filters: String, layout: &str| Placing {
            declared: declared.to_owned(),
            filters,
            layout: layout.to_owned(),
        };
        match (&self.named, self.usual()) {
            (None, Some(usual)) => vec![placing(&format!("channel_layout={usual}"), String::new(), usual)],
            (None, None) => vec![placing(&format!("channels={}", self.count), self.together(), "stereo")],
            (Some(named), usual) => {
                let declared = format!("channel_layout={}", speakers(named));
                let numbered = match usual {
                    Some(usual) => placing(&declared, self.in_order(usual), usual),
                    None => placing(&declared, self.together(), "stereo"),
                };
                vec![placing(&declared, String::new(), named), numbered]
            }
        }
    }

    /// What a reader of the report should know of a placing that ended in a layout.
    pub(super) fn remark(&self, placing: &Placing, layout: &str) -> Option<String> {
        let count = self.count;
        match (&self.named, self.layout()) {
            (_, None) => Some(format!(
                "nothing says where its {count} channels belong, so that they became {layout}: the first two are left \
                 and right, the others are heard on both sides"
            )),
            (Some(named), _) if *named != placing.layout => {
                let speakers = speakers(named);
                Some(format!("{count} channels ({speakers}) cannot be mixed and were taken for {}", placing.layout))
            }
            _ => None,
        }
    }

    /// Each channel is the speaker with its number.
    fn in_order(&self, layout: &str) -> String {
        let numbers: Vec<String> = (0..self.count).map(|number| number.to_string()).collect();
        format!("channelmap=map={}:channel_layout={layout},", numbers.join("|"))
    }

    /// The first two are left and right in every order that is in use. The others are heard on both
    /// sides, so that none is lost or strays to one.
    fn together(&self) -> String {
        let others = (2..self.count).fold(String::new(), |mut others, number| {
            let _ = write!(others, "+0.5*c{number}");
            others
        });
        format!("pan=stereo|c0<c0{others}|c1<c1{others},")
    }

    fn usual(&self) -> Option<&'static str> {
        USUAL_LAYOUTS.get(usize::from(self.count).checked_sub(1)?).copied()
    }
}

/// The name of a layout, or the speakers of one that has none, which libav describes as `2 channels (FL+LFE)`.
pub(super) fn speakers(layout: &str) -> &str {
    let listed = layout.split_once(" channels (").and_then(|(_, listed)| listed.strip_suffix(')'));
    listed.unwrap_or(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_placed_by_name_else_by_number_else_together() {
        let placed = |count: u16, named: Option<&str>| {
            let channels = Channels { count, named: named.map(str::to_owned) };
            let each = |placing: &Placing| format!("{} {}{}", placing.declared, placing.filters, placing.layout);
            channels.placings().iter().map(each).collect::<Vec<_>>()
        };
        assert_eq!(placed(6, None), ["channel_layout=5.1 5.1"]);
        assert_eq!(
            placed(2, Some("2 channels (FL+FC)")),
            [
                "channel_layout=FL+FC 2 channels (FL+FC)",
                "channel_layout=FL+FC channelmap=map=0|1:channel_layout=stereo,stereo"
            ]
        );
        assert_eq!(placed(9, Some("9 channels (x)"))[1], placed(9, None)[0].replace("channels=9", "channel_layout=x"));
        let mixed = placed(10, None);
        assert!(mixed[0].starts_with("channels=10 pan=stereo|c0<c0+0.5*c2+0.5*c3"), "{mixed:?}");
        assert!(mixed[0].ends_with("+0.5*c9|c1<c1+0.5*c2+0.5*c3+0.5*c4+0.5*c5+0.5*c6+0.5*c7+0.5*c8+0.5*c9,stereo"));
        for (count, named, apart, too_many) in
            [(8, None, 8, false), (12, None, 2, false), (65, None, 2, true), (65, Some("x"), 65, false)]
        {
            let channels = Channels { count, named: named.map(str::to_owned) };
            assert_eq!((channels.apart(), channels.are_too_many()), (apart, too_many), "{count} {named:?}");
        }
    }
}
