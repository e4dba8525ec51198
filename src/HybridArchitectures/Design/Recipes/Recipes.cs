namespace HybridArchitectures.Design;

/// <summary>The models of arXiv 2510.04800 by name, each built with the public builder. <c>docs/reference/recipes.md</c> lists them beside the paper's figures.</summary>
public static class Recipes
{
    static readonly Lazy<Dictionary<string, Recipe>> byName = new(() => RecipeTable.Build().ToDictionary(recipe => recipe.Name));

    /// <summary>All recipes, by size, family and ratio.</summary>
    public static IReadOnlyCollection<Recipe> All => byName.Value.Values;

    /// <summary>A recipe by its name, such as <c>1B-inter-1:5</c>.</summary>
    /// <exception cref="ArgumentException">There is none of this name; the message lists the nearest.</exception>
    public static Recipe Get(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (byName.Value.TryGetValue(name, out var recipe)) return recipe;
        var near = byName.Value.Keys.OrderByDescending(known => known.Zip(name).TakeWhile(pair => pair.First == pair.Second).Count()).Take(6);
        throw Require.Refusal(nameof(name), name, $"the name of a recipe, such as {string.Join(", ", near)}");
    }
}
