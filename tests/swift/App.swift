// How an app uses generated code: what a model on the main actor, an actor and a task call. `tests/build/swift.rs` compiles it with packages
// called `Chat` (a language model with states) and `Translator` (an encoder and a decoder with inputs as caches).

import CoreML
import Foundation

@available(iOS 18.0, macOS 15.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
@MainActor
final class ChatModel {
    private let generator: Chat.Generator
    private var models: Chat.Models
    private(set) var tokens: [Int] = []

    init(folder: URL) {
        models = Chat.Models(folder: folder, renamed: ["lm": "Model"], computeUnits: .cpuAndNeuralEngine)
        generator = Chat.Generator(models, form: Chat.Form.all.first)
    }

    func answer(_ prompt: [Int]) async throws {
        let sampling = Chat.Sampling(temperature: 0.7, topK: 40, topP: 0.9, seed: 1)
        for try await token in generator.stream(prompt, most: 64, sampling: sampling) {
            tokens.append(token)
        }
        tokens += try await generator.generate(prompt) { token in
            print(token)
        }
        await generator.unload()
    }

    func names() -> [String] {
        Chat.ModelBundle.all.filter { models.isPlaced($0) }.map(\.name)
    }
}

@available(iOS 16.0, macOS 13.0, tvOS 16.0, watchOS 9.0, visionOS 1.0, *)
actor Embedder {
    private let encoder: Translator.EncoderS20Float32

    init(folder: URL) async throws {
        encoder = try await Translator.EncoderS20Float32(Translator.Models(folder: folder))
    }

    func embedding(of tokens: [Int32]) throws -> [Float] {
        typealias Inputs = Translator.EncoderS20Float32.Inputs
        let ids = try MLMultiArray(shape: Inputs.inputIds.shape.map { NSNumber(value: $0) }, dataType: .int32)
        let mask = try encoder.array(tokens.map { $0 == 0 ? 0 : 1 }, for: Inputs.attentionMask)
        let outputs = try encoder.predict(inputIds: ids, attentionMask: mask)
        return outputs.hiddenStatesScalars.scalars
    }
}

@available(iOS 16.0, macOS 13.0, tvOS 16.0, watchOS 9.0, visionOS 1.0, *)
func describe(_ error: Translator.Failure) -> String {
    switch error {
    case .missingBundle(let name, let folder): "\(name) is not in \(folder)"
    case .missingFunction(let bundle, let function): "\(bundle) has no \(function)"
    case .unexpectedInterface(let bundle, let feature): "\(bundle) has another \(feature)"
    case .missingResult(let name): "\(name) did not come"
    case .noLanguageModel(let folder): "nothing in \(folder)"
    case .notCompiled(let bundle): "\(bundle) is not compiled"
    case .promptTooLong(let tokens, let most): "\(tokens) of \(most)"
    }
}
