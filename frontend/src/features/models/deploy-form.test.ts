import { expect, test } from "vitest";
import type { OfferView } from "@/api";
import { cheapestOf } from "@/features/models/deploy-form";

const offer = (gpu_name: string, total: string, why_not: string | null = null) => ({ gpu_name, price: { total }, why_not }) as OfferView;

test("of each kind of GPU the cheapest that fits is shown, cheapest first", () => {
  const found = cheapestOf([offer("L40S", "0.90"), offer("A100", "1.10"), offer("L40S", "0.80"), offer("L4", "0.20", "blocked"), offer("A100", "0.70")]);
  expect(found.map((one) => [one.gpu_name, one.price.total])).toEqual([["A100", "0.70"], ["L40S", "0.80"]]);
});
