//! Words for how a program is written: each enum is the type of one key of package manifests, and what architectures
//! are asked for.

/// Declares an enum whose values have names; the first value is the default.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub enum $name { $($(#[$word_doc])* $variant,)+ }

        impl $name {
            /// Every value, the default first.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            /// The names, in the order of `ALL`.
            pub const NAMES: &'static [&'static str] = &[$($text,)+];

            /// The name in manifests and variant ids.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use words;

words!(
    /// Order of a picture's dimensions at inputs and outputs.
    ImageLayout {
        /// `[batch, channels, height, width]`.
        #[default]
        Nchw = "nchw",
        /// `[batch, height, width, channels]`.
        Nhwc = "nhwc",
    }
);
words!(
    /// Operator of a text model's matrix products, and the layout of its activations.
    LinearForm {
        /// `linear` over `[1, sequence, channels]`.
        #[default]
        Linear = "linear",
        /// 1x1 `conv` over `[1, channels, 1, sequence]`, which the Neural Engine prefers.
        Conv = "conv",
    }
);
words!(
    /// Where a decoder keeps keys and values of earlier tokens.
    CacheForm {
        /// Nowhere: every call reads the whole sequence.
        #[default]
        None = "none",
        /// In Core ML states.
        State = "state",
        /// In inputs and outputs, which the caller passes on.
        Inputs = "inputs",
    }
);
words!(
    /// Which rows of logits a call computes.
    LogitsForm {
        /// One row per input token.
        #[default]
        All = "all",
        /// The row of the last token that is no padding.
        Last = "last",
    }
);
words!(
    /// Operators that attention consists of.
    AttentionForm {
        /// Fused where the target has the operator and the layout allows it.
        #[default]
        Auto = "auto",
        /// One `scaled_dot_product_attention`, from iOS18.
        Fused = "fused",
        /// Matrix products and a softmax over all heads.
        Explicit = "explicit",
        /// Matrix products and a softmax per head, which the Neural Engine prefers; with `linear = "conv"`.
        Split = "split",
    }
);
words!(
    /// Range of a picture's values.
    PictureRange {
        /// About 0 to 1, as the network computes it.
        #[default]
        Unit = "unit",
        /// About -1 to 1.
        Signed = "signed",
    }
);
