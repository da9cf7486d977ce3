// Package canary decides which device gets a new image first. An image that no device of the home has been
// seen to run is given to one device, and the others wait for how that ends: one device with bad firmware is
// a nuisance, a home full of them a disaster. Upgrades go in as values, and who leads and who waits comes
// out. It knows no radio, no clock and no header slot, and does not know who asked for an upgrade.
package canary
