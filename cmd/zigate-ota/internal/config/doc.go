// Package config reads the service's configuration from environment variables. It has their names,
// defaults, meaning and limits, checks them, reports all mistakes at once, and prints the configuration
// with its secrets masked. The example file and the reference of all variables are made of the same struct.
// It does not know the parts of the service that are configured: the package main turns a [Config] into
// their options.
package config
