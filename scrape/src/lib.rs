//! Scraping: targets, fetch, exposition parsing, scrape loops, staleness.
