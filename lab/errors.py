"""The one error of the lab: what is wrong and what to do about it, in words for a person."""


class LabError(Exception):
    """Stops a command of the lab.

    problem: one sentence that says what is wrong; remedy: what to do about it (may be empty); details: lines of the program that failed.
    """

    def __init__(self, problem: str, remedy: str = "", details: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        parts = [self.problem, *(f"  | {line}" for line in self.details.strip().splitlines()[-12:])]
        if self.remedy:
            parts.append(f"What to do: {self.remedy}")
        return "\n".join(parts)
