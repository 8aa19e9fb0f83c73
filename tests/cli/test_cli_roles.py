"""Who may do what can be read in one table."""


def test_roles_are_shown_with_what_they_may_do(customer) -> None:
    lines = customer("user", "roles").out.splitlines()
    assert lines[0].split() == ["NAME", "PERMISSIONS"]
    (reader,) = [line for line in lines if line.startswith("read-only")]
    assert "machine:read" in reader
    assert "machine:write" not in reader
