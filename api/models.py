"""The catalog: what is on sale, at which price."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from api.shown import Credits, Shown, core_of, refusals
from core.catalog import Model
from core.money import format_credits

router = APIRouter(tags=["catalog"])
CACHE = "public, max-age=60"


class Quality(Shown):
    """One of a model's qualities."""

    quality: str = Field(examples=["high"])
    price: Credits


class ModelShown(Shown):
    """One model on sale. A price is the most that one picture costs."""

    id: str = Field(examples=["core"])
    provider: str = Field(examples=["stability"])
    price: Credits
    operations: list[Literal["generate", "edit", "upscale"]]
    ratios: list[str] = Field(examples=[["1:1", "16:9"]])
    styles: list[str]
    qualities: list[Quality]
    default_quality: str | None
    seed: bool = Field(description="Whether it takes a seed.")
    negative: bool = Field(description="Whether it takes what is not to be seen.")
    retires: str | None = Field(description="The day from which it is off sale.", json_schema_extra={"format": "date"})


class ModelsShown(Shown):
    """Everything on sale, and the models that are taken where a request names none."""

    data: list[ModelShown]
    default_model: str
    default_edit: str
    default_upscale: str


@router.get("/models", response_model=ModelsShown, responses=refusals(), summary="What is on sale")
async def list_models(request: Request, response: Response) -> ModelsShown:
    """Every model on sale today with its prices and parameters. Needs no token."""
    app = core_of(request)
    response.headers["Cache-Control"] = CACHE
    sale = app.catalog.sale(app.today())
    return ModelsShown(
        data=[_shown(each) for each in sale.values()],
        default_model=app.catalog.default_model,
        default_edit=app.catalog.default_edit,
        default_upscale=app.catalog.default_upscale,
    )


def _shown(model: Model) -> ModelShown:
    return ModelShown(
        id=model.id,
        provider=model.provider,
        price=format_credits(model.price),
        operations=sorted(model.operations),
        ratios=list(model.ratios),
        styles=list(model.styles),
        qualities=[Quality(quality=name, price=format_credits(price)) for name, price in model.qualities.items()],
        default_quality=model.default_quality,
        seed=model.seed,
        negative=model.negative,
        retires=model.retires.isoformat() if model.retires else None,
    )
