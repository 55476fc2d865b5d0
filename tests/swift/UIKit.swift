// Declarations of the parts of UIKit and Foundation that generated code uses where an app can be warned about memory.

import Foundation

@MainActor
open class UIApplication: NSObject {
    public nonisolated static let didReceiveMemoryWarningNotification = NSNotification.Name("UIApplicationDidReceiveMemoryWarningNotification")
}

extension NotificationCenter {
    public func notifications(named name: Notification.Name, object: AnyObject? = nil) -> Notifications { fatalError() }

    public final class Notifications: AsyncSequence, Sendable {
        public typealias Element = Notification

        public func makeAsyncIterator() -> Iterator { fatalError() }

        public struct Iterator: AsyncIteratorProtocol {
            public mutating func next() async -> Notification? { fatalError() }
        }
    }
}
