// Package blocks answers image block requests: the hot path of a download. It keeps what each device may have
// ([Transfer]), finds it for a request in a table that is never changed ([Table]), and makes the answer
// ([Server]). It recognises image page requests, which the dongle's firmware garbles, and sends their blocks;
// it remembers which answers the dongle has not acknowledged yet, so that a refused one can be sent again;
// and it answers requests that the dongle shows as data indications only.
//
// Two goroutines use a Server. The reader is the one that reads the dongle's port: an answer is made on it,
// from memory, without an allocation or a lock. The owner is the one that decides about devices and upgrades:
// it puts tables and verdicts in place, reads the progress, and runs everything that is sent later than at
// once. Each method says whose it is. What the server needs of the owner is the interface [Owner].
//
// The package knows no devices, upgrades or images beyond the bytes to serve, no MQTT and no port. It imports
// nothing of the project but the messages.
package blocks
