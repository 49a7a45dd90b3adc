"""The checks of Temporal with a client of the caller's, which may never have connected."""

from temporalio.client import Client

from signedfor.checks.temporal import check_temporal


async def test_a_lazy_client_without_a_server() -> None:
    """One finding says so, the others why they are not made; nothing is raised."""
    client = await Client.connect("127.0.0.1:9", lazy=True)

    server, *others = await check_temporal(client, fix=False, attempt_record_days=30)

    assert ("fail", "Temporal does not answer at 127.0.0.1:9.") == (server.level, server.what)
    assert server.remedy
    assert {"skipped"} == {each.level.value for each in others}


async def test_a_lazy_client_connects(temporal: Client) -> None:
    """Its first call is the check."""
    address = temporal.service_client.config.target_host
    client = await Client.connect(address, namespace=temporal.namespace, lazy=True)

    found = await check_temporal(client, fix=False, attempt_record_days=30)

    levels = {each.name: each.level.value for each in found}
    assert ("ok", "ok", "ok") == (
        levels["Temporal server"],
        levels["clock"],
        levels["search attributes"],
    )
    assert "fail" == levels["workers"]
