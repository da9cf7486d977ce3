// Package otafile reads Zigbee OTA upgrade files as vendors publish them: the header, the elements behind it,
// the containers that vendors put around it, and the checksums that the firmware inside carries.
//
// It works on bytes in memory and trusts none of them: the input is never written to, sizes are checked
// before they are used, and what a container unpacks to is bounded. It knows nothing of devices, of where
// files come from or of how they are served; it imports nothing of the project.
//
// What goes to a device is [File.Image]: exactly the header's total image size, from the header's first byte,
// as it was in the file. The package takes files apart and does not put them together again; [Build] makes
// new files, for demonstrations and tests alone.
//
// Numbers in OTA files are little-endian unless a comment says otherwise.
package otafile
