// Package contract is the MQTT contract in Go: the topics, the payloads with their keys, and the words that
// may stand in them. The bridge writes its types, HTTP serves them, the shell reads them, and tests hold the
// published schema (openapi.json), the documentation (docs/mqtt.md) and the page against them by reflection.
// A key that is not here is in no payload.
//
// It does not know how an upgrade works, where a record comes from, or how a message travels. It imports
// nothing of the project.
//
// In every payload the keys come in the order of the struct's fields. A pointer is null where a value is not
// known. A key is absent only where its tag says omitempty or omitzero. Times are UTC, in whole seconds,
// except that of a [Frame].
package contract
