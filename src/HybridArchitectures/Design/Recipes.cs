namespace HybridArchitectures.Design;

/// <summary>
/// Provides the models of arXiv 2510.04800 by name. Each one is built with the public builder. <c>docs/reference/recipes.md</c> lists them together
/// with the numbers of the paper.
/// </summary>
/// <example>
/// <code>
/// Recipe recipe = Recipes.Get("1B-inter-1:5");
/// Console.WriteLine($"{recipe.Design.Pattern}, {recipe.Design.CountParameters().NonEmbedding:N0} parameters without embedding");
/// Console.WriteLine($"peak learning rate {recipe.Training.PeakLearningRate}");
/// </code>
/// </example>
public static class Recipes
{
    static readonly Lazy<Dictionary<string, Recipe>> byName = new(() => RecipeTable.Build().ToDictionary(recipe => recipe.Name));

    /// <summary>Gets all recipes, ordered by size, family and ratio.</summary>
    public static IReadOnlyCollection<Recipe> All => byName.Value.Values;

    /// <summary>Returns a recipe by its name.</summary>
    /// <param name="name">The name, for example <c>1B-inter-1:5</c>.</param>
    /// <exception cref="ArgumentException">There is no such recipe. The message lists similar names.</exception>
    public static Recipe Get(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (byName.Value.TryGetValue(name, out var recipe)) return recipe;
        var near = byName.Value.Keys.OrderByDescending(known => known.Zip(name).TakeWhile(pair => pair.First == pair.Second).Count()).Take(6);
        throw Require.Refusal(nameof(name), name, $"the name of a recipe, such as {string.Join(", ", near)}");
    }
}
