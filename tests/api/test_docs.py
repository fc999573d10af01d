"""The OpenAPI document, and the page made of it."""

import httpx

from tests.api.stage import Served


async def test_every_route_is_described_with_its_errors(served_once: Served) -> None:
    async with httpx.AsyncClient(base_url=served_once.url) as anyone:
        document = (await anyone.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    assert {"ProblemDocument", "OpenAIError", "FieldProblem"} <= schemas.keys()
    assert "HTTPValidationError" not in schemas
    assert document["components"]["securitySchemes"]
    assert schemas["GenerationAsked"]["examples"]
    known = {tag["name"] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert set(operation["tags"]) <= known, (method, path)
            if operation.get("security"):
                assert {"401", "403", "429"} <= operation["responses"].keys(), (method, path)
            for status, response in operation["responses"].items():
                kinds = response.get("content", {})
                assert status[0] in "23" or path == "/readyz" or kinds, (method, path, status)


async def test_the_page_needs_nothing_from_elsewhere(served_once: Served) -> None:
    async with httpx.AsyncClient(base_url=served_once.url) as anyone:
        page = await anyone.get("/docs")
        style = await anyone.get("/static/docs.css")
        chinese = await anyone.get("/docs?lang=zh")
    assert (page.status_code, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert "script" not in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    for path in ("/generations/{number}/image", "/v1/images/generations", "/wallet/transactions", "/resources/{number}/stats"):
        assert f"<code>{path}</code>" in page.text
    assert "<code>Idempotency-Key</code>" in page.text
    assert "`" not in page.text + chinese.text, "what stands between backticks is shown as code"
    assert "目录" in chinese.text
    assert "lang=zh" in chinese.text
