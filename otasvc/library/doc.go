// Package library is where OTA images come from and where they lie: it fetches them, checks them and keeps
// them in a store whose key is the SHA-256 of the bytes that devices get. A [Catalog] finds images for
// devices in the image folder, which it watches, and in index files, which it keeps up to date; a [Registry]
// holds those that were registered for devices by name.
//
// It knows of devices only what images are matched with ([Device]), and nothing of how images are served to
// them. The queries of Catalog and Registry and [Library.Image] answer from memory. Fetch, Ensure, Load,
// Sweep and [Catalog.Add] wait for a disk or the network.
package library
