// Package library is where OTA images come from and where they lie: it fetches them, checks them and keeps them in a
// store whose key is the SHA-256 of the bytes that devices get.
//
// It knows nothing of devices beyond the names that a [Registry] is given, and nothing of how images are served.
package library
