// Declarations of the part of Core Video that generated code uses: a pixel buffer, which is not Sendable.

open class CVBuffer {
    init() {}
}

public typealias CVImageBuffer = CVBuffer
public typealias CVPixelBuffer = CVImageBuffer
