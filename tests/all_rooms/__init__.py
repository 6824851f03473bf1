"""What must never bring the loop down, nor make it differ from asyncio: see `harness` for how scenarios are
compared.
"""
