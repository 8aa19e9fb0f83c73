def test_it(customer, operator, furnished):
    for words in ("zone list", "zone list -o yaml", "machine list", "zone show east", "whoami", "setting list",
        "network create back --cidr 10.2.0.0/24", "network list", "network show back -o json", "address acquire", "address list",
        "machine deploy web --image tiny --offering tiny --no-wait", "limit show", "user roles", "event list", "operation list"):
        r = customer(*words.split(), status=None)
        print("$", words, r.status); print(r.out, r.err)
    for words in ("user list", "account list", "limit update acme --machines 5", "limit show acme", "limit update acme --machines none --debug", "host list", "join-token create --pod pod-a", "host invite --pod pod-a -o json", "audit list", "setting set expunge_seconds=10", "setting set nope=3", "machine show nix", "machine deploy", "zone show --nope", "zone create a_b --vlans 5-6","zone create b --vlans 5000-6", "offering delete tiny small"):
        r = operator(*words.split(), status=None)
        print("$", words, r.status); print(r.out, r.err)
    assert 0
