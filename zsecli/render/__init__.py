"""Results for people and for other programs: figures, pages, sheets, reports, lists."""
