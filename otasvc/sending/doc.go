// Package sending hands commands to the dongle when its buffers let them through. It watches how full they
// are, as far as the dongle tells, keeps back what can wait, and sends again what the dongle had no room for.
//
// The package does not know why a command is sent, or to which device; it imports nothing of the project but
// the messages and the mailbox. The goroutine that takes from the mailbox is called the owner here.
package sending
