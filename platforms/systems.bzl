"""The systems of which there are several."""

# macOS and the BSDs.
BSD = [
    "@platforms//os:freebsd",
    "@platforms//os:macos",
    "@platforms//os:openbsd",
    "//platforms:netbsd",
]

def on_bsd(value, cases):
    """The cases of a select, and value for each of BSD."""
    all = {system: value for system in BSD}
    all.update(cases)
    return all
