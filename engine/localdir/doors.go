package localdir

// What not every file system has. Tests close these doors to see that we get along without.
var (
	swapNames = renameExchange
	takeLease = lease
	giveAway  = chownFile
	tryClock  = (*handle).probeClock
)
