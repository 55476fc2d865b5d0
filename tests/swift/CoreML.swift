// Declarations of the part of Core ML that generated code and README use, for type checking without Apple's SDK. Nothing here computes.
//
// Signatures, labels, defaults and conformances to Sendable are those of the SDK of iOS 18: models, arrays, feature values and options are not
// Sendable, states and shaped arrays are. Availability is not checked on Linux; `tests/build/swift.rs` looks for it in the text.

@_exported import CoreVideo
import Foundation

public enum MLComputeUnits: Int, Sendable {
    case cpuOnly = 0
    case cpuAndGPU = 1
    case all = 2
    case cpuAndNeuralEngine = 3
}

public enum MLMultiArrayDataType: Int, Sendable {
    case double = 65600
    case float32 = 65568
    case float16 = 65552
    case int32 = 131104

    public static var float64: MLMultiArrayDataType { .double }
    public static var float: MLMultiArrayDataType { .float32 }
}

public enum MLFeatureType: Int, Sendable {
    case invalid = 0
    case int64 = 1
    case double = 2
    case string = 3
    case image = 4
    case multiArray = 5
    case dictionary = 6
    case sequence = 7
    case state = 8
}

open class MLMultiArray: NSObject {
    public var dataType: MLMultiArrayDataType { fatalError() }
    public var shape: [NSNumber] { fatalError() }
    public var strides: [NSNumber] { fatalError() }
    public var count: Int { fatalError() }

    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}

    public convenience init<C>(_ data: C) throws where C: Collection, C.Element: FixedWidthInteger {
        try self.init(shape: [], dataType: .int32)
    }

    public convenience init<C>(_ data: C) throws where C: Collection, C.Element == Float {
        try self.init(shape: [], dataType: .float32)
    }

    public convenience init<C>(_ data: C) throws where C: Collection, C.Element == Double {
        try self.init(shape: [], dataType: .double)
    }

    public convenience init<ShapedArray>(_ shapedArray: ShapedArray) where ShapedArray: MLShapedArrayProtocol {
        fatalError()
    }

    public subscript(_ index: Int) -> NSNumber {
        get { fatalError() }
        set {}
    }

    public subscript(_ key: [NSNumber]) -> NSNumber {
        get { fatalError() }
        set {}
    }

    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }

    public func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R) rethrows -> R { fatalError() }

    public func withUnsafeBufferPointer<S, R>(
        ofType type: S.Type,
        _ body: (UnsafeBufferPointer<S>) throws -> R
    ) rethrows -> R where S: MLShapedArrayScalar { fatalError() }

    public func withUnsafeMutableBufferPointer<S, R>(
        ofType type: S.Type,
        _ body: (UnsafeMutableBufferPointer<S>, [Int]) throws -> R
    ) rethrows -> R where S: MLShapedArrayScalar { fatalError() }
}

public protocol MLShapedArrayScalar {
    static var multiArrayDataType: MLMultiArrayDataType { get }
}

extension Float: MLShapedArrayScalar {
    public static var multiArrayDataType: MLMultiArrayDataType { .float32 }
}

extension Double: MLShapedArrayScalar {
    public static var multiArrayDataType: MLMultiArrayDataType { .double }
}

extension Int32: MLShapedArrayScalar {
    public static var multiArrayDataType: MLMultiArrayDataType { .int32 }
}

#if arch(arm64)
extension Float16: MLShapedArrayScalar {
    public static var multiArrayDataType: MLMultiArrayDataType { .float16 }
}
#endif

public protocol MLShapedArrayProtocol {
    associatedtype Scalar: MLShapedArrayScalar
    var shape: [Int] { get }
    var scalars: [Scalar] { get }
    init(converting multiArray: MLMultiArray)
}

public struct MLShapedArray<Scalar>: MLShapedArrayProtocol, @unchecked Sendable where Scalar: MLShapedArrayScalar {
    public var shape: [Int] { fatalError() }
    public var strides: [Int] { fatalError() }
    public var scalars: [Scalar] { fatalError() }

    public init<S>(scalars: S, shape: [Int]) where S: Sequence, S.Element == Scalar {}
    public init(repeating: Scalar, shape: [Int]) {}
    public init(_ multiArray: MLMultiArray) {}
    public init(converting multiArray: MLMultiArray) {}
}

open class MLFeatureValue: NSObject {
    public var type: MLFeatureType { fatalError() }
    public var isUndefined: Bool { fatalError() }
    public var int64Value: Int64 { fatalError() }
    public var doubleValue: Double { fatalError() }
    public var stringValue: String { fatalError() }
    public var imageBufferValue: CVPixelBuffer? { fatalError() }
    public var multiArrayValue: MLMultiArray? { fatalError() }
    public var dictionaryValue: [AnyHashable: NSNumber] { fatalError() }

    public convenience init(int64: Int64) { fatalError() }
    public convenience init(double: Double) { fatalError() }
    public convenience init(string: String) { fatalError() }
    public convenience init(multiArray: MLMultiArray) { fatalError() }
    public convenience init(pixelBuffer: CVPixelBuffer) { fatalError() }
    public convenience init(dictionary: [AnyHashable: NSNumber]) throws { fatalError() }
    public convenience init<ShapedArray>(shapedArray: ShapedArray) where ShapedArray: MLShapedArrayProtocol { fatalError() }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public var dictionary: [String: MLFeatureValue] { fatalError() }
    public init(dictionary: [String: Any]) throws {}
    public var featureNames: Set<String> { fatalError() }
    public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
    public subscript(_ featureName: String) -> MLFeatureValue? { fatalError() }
}

open class MLPredictionOptions: NSObject {
    open var outputBackings: [String: Any] = [:]
}

open class MLModelConfiguration: NSObject {
    open var modelDisplayName: String?
    open var computeUnits: MLComputeUnits = .all
    open var allowLowPrecisionAccumulationOnGPU = false
    @available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
    open var functionName: String? {
        get { fatalError() }
        set {}
    }
}

open class MLMultiArrayConstraint: NSObject {
    public var shape: [NSNumber] { fatalError() }
    public var dataType: MLMultiArrayDataType { fatalError() }
}

open class MLFeatureDescription: NSObject {
    public var name: String { fatalError() }
    public var type: MLFeatureType { fatalError() }
    public var isOptional: Bool { fatalError() }
    public var multiArrayConstraint: MLMultiArrayConstraint? { fatalError() }
}

public struct MLModelMetadataKey: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let description = Self(rawValue: "MLModelDescriptionKey")
    public static let versionString = Self(rawValue: "MLModelVersionStringKey")
    public static let author = Self(rawValue: "MLModelAuthorKey")
    public static let license = Self(rawValue: "MLModelLicenseKey")
    public static let creatorDefinedKey = Self(rawValue: "MLModelCreatorDefinedKey")
}

open class MLModelDescription: NSObject {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    @available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
    public var stateDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    public var metadata: [MLModelMetadataKey: Any] { fatalError() }
}

@available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
public final class MLState: NSObject, @unchecked Sendable {
    public func withMultiArray<R>(for stateName: String, _ body: (MLMultiArray) throws -> R) rethrows -> R { fatalError() }
}

open class MLModel: NSObject {
    public var modelDescription: MLModelDescription { fatalError() }
    public var configuration: MLModelConfiguration { fatalError() }

    public convenience init(contentsOf url: URL) throws { fatalError() }
    public convenience init(contentsOf url: URL, configuration: MLModelConfiguration) throws { fatalError() }

    public class func load(
        contentsOf url: URL,
        configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError() }

    #if !os(watchOS)
    public class func compileModel(at modelURL: URL) throws -> URL { fatalError() }
    public class func compileModel(at modelURL: URL) async throws -> URL { fatalError() }
    #endif

    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { fatalError() }

    public func prediction(
        from input: any MLFeatureProvider,
        options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { fatalError() }

    @available(iOS 17.0, macOS 14.0, tvOS 17.0, watchOS 10.0, *)
    public func prediction(
        from input: any MLFeatureProvider,
        options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider { fatalError() }

    @available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
    public func makeState() -> MLState { fatalError() }

    @available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
    public func prediction(
        from input: any MLFeatureProvider,
        using state: MLState
    ) throws -> any MLFeatureProvider { fatalError() }

    @available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
    public func prediction(
        from input: any MLFeatureProvider,
        using state: MLState,
        options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { fatalError() }

    @available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
    public func prediction(
        from input: any MLFeatureProvider,
        using state: MLState,
        options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider { fatalError() }
}
