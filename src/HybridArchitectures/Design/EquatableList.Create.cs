namespace HybridArchitectures.Design;

/// <summary>Creates <see cref="EquatableList{T}"/> values.</summary>
public static class EquatableList
{
    /// <summary>Creates a list of the given elements. Collection expressions call this method.</summary>
    public static EquatableList<T> Create<T>(ReadOnlySpan<T> items) =>
        items.IsEmpty ? EquatableList<T>.Empty : new(Require.Items(items.ToArray(), nameof(items)));

    /// <summary>Creates a list of the given elements.</summary>
    public static EquatableList<T> ToEquatableList<T>(this IEnumerable<T> items) => Create<T>(Require.EachItem(items).ToArray());
}
