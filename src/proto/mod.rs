//! Generated protobuf types of Core ML.
